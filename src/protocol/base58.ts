/**
 * Base 58, the letters and digits without 0, O, I and l, in blocks: 8 bytes are 11 digits, big-endian, and what remains
 * is as many as it takes. So the first block can be read of a text that was cut off, which a single large number does
 * not allow.
 */
const DIGITS = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
const BASE = 58n;
const BLOCK = 8;
/** Digits for 0 to 8 bytes. */
const DIGITS_FOR = [0, 2, 3, 5, 6, 7, 9, 10, 11] as const;
const WHOLE = DIGITS_FOR[BLOCK];

export const encodedLength = (bytes: number): number =>
  Math.floor(bytes / BLOCK) * WHOLE + DIGITS_FOR[bytes % BLOCK]!;

export function encodeBlocks(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += BLOCK) text += encodeBlock(bytes.subarray(at, at + BLOCK));
  return text;
}

function encodeBlock(bytes: Uint8Array): string {
  let value = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  let text = '';
  for (let i = 0; i < DIGITS_FOR[bytes.length]!; i++) {
    text = DIGITS[Number(value % BASE)]! + text;
    value /= BASE;
  }
  return text;
}

/** Where the first character stands that is no digit, or -1. */
export const indexOfForeign = (text: string): number => [...text].findIndex((char) => !DIGITS.includes(char));

/** @returns undefined when no bytes are written like this */
export function decodeBlocks(text: string): Uint8Array | undefined {
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at += WHOLE) {
    const block = decodeBlock(text.slice(at, at + WHOLE));
    if (block === undefined) return undefined;
    bytes.push(...block);
  }
  return Uint8Array.from(bytes);
}

function decodeBlock(text: string): number[] | undefined {
  const length = DIGITS_FOR.indexOf(text.length as (typeof DIGITS_FOR)[number]);
  let value = 0n;
  for (const char of text) {
    const digit = DIGITS.indexOf(char);
    if (digit < 0) return undefined;
    value = value * BASE + BigInt(digit);
  }
  if (length < 0 || value >> BigInt(8 * length) !== 0n) return undefined;
  return Array.from({ length }, (_, i) => Number((value >> BigInt(8 * (length - 1 - i))) & 0xffn));
}
