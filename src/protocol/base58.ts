import { base58xmr } from '@scure/base';

/**
 * Base 58 in blocks, as Monero writes addresses: letters and digits without 0, O, I and l. 8 bytes are 11 digits, big-endian,
 * and the rest takes as many as it needs. So the first block of an incomplete text can still be read, which is impossible
 * with base 58 as one large number.
 */
const BLOCK = { bytes: 8, digits: 11 } as const;
/** The number of digits for 0 to 7 bytes. */
const REST_DIGITS = [0, 2, 3, 5, 6, 7, 9, 10] as const;

export const encodedLength = (bytes: number): number =>
  Math.floor(bytes / BLOCK.bytes) * BLOCK.digits + REST_DIGITS[bytes % BLOCK.bytes]!;

export const encodeBlocks = (bytes: Uint8Array): string => base58xmr.encode(bytes);

/** The position of the first character that is not a digit of base 58, or -1. */
export const indexOfForeign = (text: string): number => text.search(/[^1-9A-HJ-NP-Za-km-z]/);

/** @returns undefined when the text encodes no bytes */
export function decodeBlocks(text: string): Uint8Array | undefined {
  try {
    return base58xmr.decode(text);
  } catch {
    return undefined;
  }
}
