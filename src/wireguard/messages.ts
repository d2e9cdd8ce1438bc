import { PADDING } from './constants.js';
import { EMPTY } from './crypto.js';

/** Message types, [W] 5.4.2 to 5.4.7: one byte and three reserved zeros, read together as a little-endian u32. */
export const MESSAGE_TYPE = { initiation: 1, response: 2, cookieReply: 3, transport: 4 } as const;
export type MessageType = (typeof MESSAGE_TYPE)[keyof typeof MESSAGE_TYPE];

/**
 * Handshake initiation, [W] 5.4.2: type u32, sender u32, ephemeral 32, static 32 + 16, timestamp 12 + 16,
 * mac1 16, mac2 16. Integers are little-endian in all messages.
 */
export const INITIATION = {
  sender: 4,
  ephemeral: 8,
  static: 40,
  timestamp: 88,
  mac1: 116,
  mac2: 132,
  length: 148,
} as const;

/** Handshake response, [W] 5.4.3: type u32, sender u32, receiver u32, ephemeral 32, empty 0 + 16, macs. */
export const RESPONSE = {
  sender: 4,
  receiver: 8,
  ephemeral: 12,
  empty: 44,
  mac1: 60,
  mac2: 76,
  length: 92,
} as const;

/** Cookie reply, [W] 5.4.7: type u32, receiver u32, nonce 24, cookie 16 + 16. */
export const COOKIE_REPLY = { receiver: 4, nonce: 8, cookie: 32, length: 64 } as const;

/** Transport data, [W] 5.4.6: type u32, receiver u32, counter u64, ciphertext, tag 16. */
export const TRANSPORT = { receiver: 4, counter: 8, payload: 16, minLength: 32, overhead: 32 } as const;

const FIXED_LENGTH = { 1: INITIATION.length, 2: RESPONSE.length, 3: COOKIE_REPLY.length } as const;

/**
 * Classifies a datagram by type and length, the only checks possible before cryptography. Transport data has any
 * length from a keepalive up: [W] pads it to a multiple of 16, but not beyond the MTU.
 *
 * @param at offset of the datagram in `view`
 * @returns the message type, or 0 when it cannot be a WireGuard message
 */
export function messageType(view: DataView, at: number, length: number): MessageType | 0 {
  if (length < TRANSPORT.minLength) return 0;
  const type = view.getUint32(at, true);
  if (type === MESSAGE_TYPE.transport) return type;
  if (type === 1 || type === 2 || type === 3) return length === FIXED_LENGTH[type] ? type : 0;
  return 0;
}

/** The DataView of a byte array. */
export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A u64 as a double: exact below 2^53, and at least 2^53 otherwise. */
export const readCounter = (view: DataView, at: number): number =>
  view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);

export function writeCounter(view: DataView, at: number, counter: number): void {
  view.setUint32(at, counter >>> 0, true);
  view.setUint32(at + 4, Math.floor(counter / 2 ** 32), true);
}

/**
 * How many zeros follow an inner packet, [W] 5.4.6: up to a multiple of `PADDING`, but never more than the MTU allows.
 * Super-packets are cut up before.
 */
export function paddingOf(length: number, mtu: number): number {
  const padded = (length + PADDING - 1) & -PADDING;
  return Math.max(0, Math.min(padded, mtu) - length);
}

/** Overwrites secrets. */
export function erase(...secrets: readonly (Uint8Array | undefined)[]): void {
  for (const secret of secrets) (secret ?? EMPTY).fill(0);
}
