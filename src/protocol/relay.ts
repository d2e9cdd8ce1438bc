import type { Crypto } from '../wireguard/crypto.js';
import { messageType, viewOf } from '../wireguard/messages.js';
import type { NodeId } from './node-id.js';

/**
 * The side channel on a node's UDP socket. The first four bytes tell it from WireGuard, whose messages begin with 1 to 4 and
 * three zeros. Numbers are little-endian.
 */
const magic = (letters: string): number =>
  letters.charCodeAt(0) |
  (letters.charCodeAt(1) << 8) |
  (letters.charCodeAt(2) << 16) |
  (letters.charCodeAt(3) << 24);

/** The first four bytes as a little-endian i32 (`DataView.getInt32`). */
export const MAGIC = {
  /** A relay frame. */
  relay: magic('LTr1'),
  /** Between a node and the relay: `RELAY_CONTROL`. */
  control: magic('LTc1'),
  /** From node to node, directly or inside a relay frame: `probe.ts`. */
  probe: magic('LTp1'),
} as const;

/**
 * A relay frame: magic, a member's id u32, then the datagram. Towards the relay the id is the receiver's, from the relay the
 * sender's. The relay knows the sender by its bound endpoint, or by the channel of the frame.
 */
export const RELAY_FRAME = { peer: 4, payload: 8, maxPayload: 2048 } as const;

/**
 * A node and the relay: magic, kind u32, session 8 bytes, sequence f64 (only ever grows within a session), an address
 * 16 bytes (IPv4 in its mapped form) and its port u16, a cookie 6 bytes, padding; then 16 bytes of BLAKE2s keyed with
 * the session's key, over all of these. An answer is as long as its request: so a padded bind finds out which length
 * passes in both directions, and no sender can cause more traffic than it sends.
 *
 * `bind` goes to the relay. Its address is zeros; its cookie is the last one from the relay, or zeros. From then on,
 * what comes from this sender belongs to the session, and frames for the session go there. `bound` is the answer, with
 * the same sequence and the sender's address as the relay sees it. If that address is new to the session, the answer is
 * `challenge` instead: bind again at once, with its cookie. So a sender can only bind an address where it receives.
 */
export const RELAY_CONTROL = {
  kind: 4,
  session: 8,
  sequence: 16,
  address: 24,
  port: 40,
  cookie: 42,
  padding: 48,
  mac: 16,
  minLength: 64,
  /** The longest that fits Ethernet with the headers of UDP and IPv4. */
  maxLength: 1472,
} as const;
export const RELAY_KIND = { bind: 1, bound: 2, challenge: 3 } as const;

/** How often a node binds again, to keep its NAT's mapping; and after how long the relay forgets a binding; ms. */
export const BIND_INTERVAL = 20_000;
export const BIND_LIFETIME = 65_000;

/** A message between a node and the relay. */
export interface RelayControl {
  readonly kind: number;
  /** 8 bytes. */
  readonly session: Uint8Array;
  readonly sequence: number;
  /** 16 bytes; IPv4 in its mapped form. Zeros unless given. */
  readonly address?: Uint8Array;
  readonly port?: number;
  /** 6 bytes; zeros unless given. */
  readonly cookie?: Uint8Array;
  /** The length of the whole message with padding; default: the shortest possible. */
  readonly length?: number;
}

/** @param key the session's, 32 bytes */
export function encodeControl(
  crypto: Pick<Crypto, 'mac'>,
  key: Uint8Array,
  { kind, session, sequence, address, port = 0, cookie, length = 0 }: RelayControl,
): Uint8Array {
  const { minLength, maxLength } = RELAY_CONTROL;
  const out = new Uint8Array(Math.min(Math.max(length, minLength), maxLength));
  const view = viewOf(out);
  view.setInt32(0, MAGIC.control, true);
  view.setUint32(RELAY_CONTROL.kind, kind, true);
  out.set(session, RELAY_CONTROL.session);
  view.setFloat64(RELAY_CONTROL.sequence, sequence, true);
  if (address !== undefined) out.set(address, RELAY_CONTROL.address);
  view.setUint16(RELAY_CONTROL.port, port, true);
  if (cookie !== undefined) out.set(cookie, RELAY_CONTROL.cookie);
  const end = out.length - RELAY_CONTROL.mac;
  crypto.mac(key, out.subarray(0, end), out.subarray(end));
  return out;
}

/** @returns undefined when it is malformed, or not made with the session's key */
export function decodeControl(
  crypto: Pick<Crypto, 'mac' | 'equal'>,
  key: Uint8Array,
  bytes: Uint8Array,
): Required<RelayControl> | undefined {
  if (!isControlLength(bytes.length)) return undefined;
  const view = viewOf(bytes);
  if (view.getInt32(0, true) !== MAGIC.control) return undefined;
  const mac = new Uint8Array(RELAY_CONTROL.mac);
  const end = bytes.length - RELAY_CONTROL.mac;
  crypto.mac(key, bytes.subarray(0, end), mac);
  if (!crypto.equal(mac, bytes.subarray(end))) return undefined;
  const sequence = view.getFloat64(RELAY_CONTROL.sequence, true);
  if (!Number.isFinite(sequence)) return undefined;
  return {
    kind: view.getUint32(RELAY_CONTROL.kind, true),
    session: bytes.slice(RELAY_CONTROL.session, RELAY_CONTROL.sequence),
    sequence,
    address: bytes.slice(RELAY_CONTROL.address, RELAY_CONTROL.port),
    port: view.getUint16(RELAY_CONTROL.port, true),
    cookie: bytes.slice(RELAY_CONTROL.cookie, RELAY_CONTROL.padding),
    length: bytes.length,
  };
}

/** Whether a datagram that begins with `MAGIC.control` can be such a message. */
export const isControlLength = (length: number): boolean =>
  length >= RELAY_CONTROL.minLength && length <= RELAY_CONTROL.maxLength;

/** The longest probe, bytes: `probe.ts`. */
const MAX_PROBE = 256;

/**
 * Whether the relay carries a datagram: only what can be a WireGuard message or a probe. The relay is no tunnel for anything
 * else, as far as the unencrypted part shows.
 */
export function mayBeRelayed(view: DataView, at: number, length: number): boolean {
  if (length > RELAY_FRAME.maxPayload || length < 4) return false;
  if (messageType(view, at, length) !== 0) return true;
  return length <= MAX_PROBE && view.getInt32(at, true) === MAGIC.probe;
}

/** Writes the eight bytes in front of a datagram. */
export function writeFrameHeader(out: Uint8Array, at: number, peer: NodeId): void {
  writeU32(out, at, MAGIC.relay);
  writeU32(out, at + RELAY_FRAME.peer, peer);
}

/** @returns undefined when it is not a relay frame, or an empty one. The datagram is in `bytes`. */
export function openFrame(bytes: Uint8Array): { peer: NodeId; datagram: Uint8Array } | undefined {
  if (bytes.length <= RELAY_FRAME.payload || (readU32(bytes, 0) | 0) !== MAGIC.relay) return undefined;
  return { peer: readU32(bytes, RELAY_FRAME.peer), datagram: bytes.subarray(RELAY_FRAME.payload) };
}

function writeU32(out: Uint8Array, at: number, value: number): void {
  out[at] = value;
  out[at + 1] = value >>> 8;
  out[at + 2] = value >>> 16;
  out[at + 3] = value >>> 24;
}

const readU32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
