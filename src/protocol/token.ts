import { LametunError } from '../errors.js';
import { formatAddress, parseAddress } from '../ip/address.js';
import { decodeBlocks, encodeBlocks, encodedLength, indexOfForeign } from './base58.js';
import { isHostName } from './label.js';

/** An address of a hub. */
export interface HubAddress {
  /** An IPv4 or IPv6 address, or a name. */
  readonly host: string;
  readonly port: number;
  /** Behind a reverse proxy with TLS. The hub's key authenticates it in either case. */
  readonly tls: boolean;
}

/** The content of a token. */
export interface Token {
  /** The hub's public key, 32 bytes. */
  readonly hub: Uint8Array;
  /** 16 bytes. Never log it. */
  readonly secret: Uint8Array;
  /** At least one, at most eight. */
  readonly addresses: readonly HubAddress[];
}

/**
 * As text: `lt`, the version of this format, and then in blocks of base 58 (only letters and digits, which no shell, chat or
 * double click breaks) the length of all bytes u16, the hub's key 32, the secret 16, addresses,
 * CRC-32 u32. An address: kind and flags u8, the port u16 unless it is the usual one, then 4 or 16 bytes, or a name
 * behind its length u8. Little-endian.
 *
 * The length comes first, to distinguish an incomplete token from a mistyped one.
 */
const PREFIX = 'lt';
const VERSION = '1';
const BODY = { key: 2, secret: 34, addresses: 50, checksum: 4 } as const;
const KIND = { ipv4: 0, ipv6: 1, name: 2 } as const;
const KIND_MASK = 0b0011;
const FLAG = { tls: 0b0100, port: 0b1000 } as const;
const USUAL_PORT = 443;
const MAX_ADDRESSES = 8;

/** Whether a hub can be looked for there: an address, or the name of a host. */
export const isHost = (text: string): boolean => parseAddress(text) !== undefined || isHostName(text);

/** @throws LametunError('usage') when an address is invalid, or there are none, or more than eight */
export function formatToken({ hub, secret, addresses }: Token): string {
  if (hub.length !== 32 || secret.length !== 16) throw new RangeError('a key has 32 bytes, a secret 16');
  if (addresses.length < 1 || addresses.length > MAX_ADDRESSES)
    throw new LametunError('usage', `a token has 1 to ${MAX_ADDRESSES} addresses of the hub`);
  const parts = addresses.map(encodeAddress);
  const length = parts.reduce((sum, part) => sum + part.length, BODY.addresses + BODY.checksum);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, length, true);
  bytes.set(hub, BODY.key);
  bytes.set(secret, BODY.secret);
  let at: number = BODY.addresses;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  view.setUint32(at, crc32(bytes.subarray(0, at)), true);
  return PREFIX + VERSION + encodeBlocks(bytes);
}

function encodeAddress({ host, port, tls }: HubAddress): Uint8Array {
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new LametunError('usage', `${port} is not a port: give a number from 1 to 65535`);
  const address = parseAddress(host);
  if (address === undefined && !isHostName(host))
    throw new LametunError('usage', `'${host}' is neither an address nor a host name`);
  const kind = address === undefined ? KIND.name : address.length === 4 ? KIND.ipv4 : KIND.ipv6;
  const isUsual = port === USUAL_PORT;
  const head = [kind | (tls ? FLAG.tls : 0) | (isUsual ? 0 : FLAG.port)];
  if (!isUsual) head.push(port & 0xff, port >>> 8);
  if (address !== undefined) return Uint8Array.of(...head, ...address);
  return Uint8Array.of(...head, host.length, ...[...host.toLowerCase()].map((char) => char.charCodeAt(0)));
}

/**
 * Reads a pasted token. White space around and within it is ignored, and so is `lametun join` in front.
 *
 * @throws LametunError('usage') that tells what is wrong, without showing any of it
 */
export function parseToken(text: string): Token {
  const plain = text
    .replace(INVISIBLE, '')
    .replace(/^['"`]?(lametunjoin)?['"`]?/, '')
    .replace(/['"`]$/, '');
  if (plain === '') throw wrong('the token is empty');
  if (plain.slice(0, PREFIX.length).toLowerCase() !== PREFIX)
    throw wrong(`this is not a token: a token begins with ${PREFIX}${VERSION}`);
  const version = plain[PREFIX.length];
  if (version === undefined) throw wrong('the token is incomplete');
  if (version !== VERSION) {
    if (!/[2-9]/.test(version)) throw wrong(`this is not a token: a token begins with ${PREFIX}${VERSION}`);
    throw new LametunError(
      'usage',
      `the token was made by a newer lametun (format ${version}; this one reads ${VERSION}): update lametun on this machine`,
    );
  }
  return decode(readBlocks(plain.slice(PREFIX.length + 1)));
}

/** White space, and invisible characters that editors and chats insert. */
const INVISIBLE = /[\s\u00ad\u200b-\u200f\u2060\ufeff]+/g;

function readBlocks(digits: string): Uint8Array {
  const foreign = indexOfForeign(digits);
  if (foreign >= 0)
    throw wrong(
      `the token is mistyped at character ${foreign + 1 + PREFIX.length + 1}: tokens have letters and digits, but never 0, O, I or l`,
    );
  const head = digits.length < 11 ? undefined : decodeBlocks(digits.slice(0, 11));
  if (digits.length < 11) throw wrong('the token is incomplete');
  if (head === undefined) throw wrong(MISTYPED);
  const expected = encodedLength(head[0]! | (head[1]! << 8));
  // A mistyped length could cause both, but a plausible one is believed.
  if (digits.length < expected) {
    const total = expected + PREFIX.length + 1;
    if (expected > MAX_DIGITS) throw wrong(MISTYPED);
    throw wrong(`the token is incomplete: ${digits.length + PREFIX.length + 1} of ${total} characters`);
  }
  if (digits.length > expected) throw wrong('the token has extra text at its end, or is mistyped');
  const bytes = decodeBlocks(digits);
  if (bytes === undefined) throw wrong(MISTYPED);
  return bytes;
}

const MISTYPED = 'the token is mistyped: its checksum is wrong';
const MAX_DIGITS = encodedLength(BODY.addresses + BODY.checksum + MAX_ADDRESSES * (4 + 253));

function decode(bytes: Uint8Array): Token {
  const end = bytes.length - BODY.checksum;
  if (end < BODY.addresses) throw wrong(MISTYPED);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(end, true) !== crc32(bytes.subarray(0, end))) throw wrong(MISTYPED);
  const addresses: HubAddress[] = [];
  for (let at: number = BODY.addresses; at < end; ) {
    const read = decodeAddress(bytes.subarray(at, end));
    if (read === undefined || addresses.length === MAX_ADDRESSES) throw wrong(MALFORMED);
    addresses.push(read.address);
    at += read.length;
  }
  if (addresses.length === 0) throw wrong(MALFORMED);
  return {
    hub: bytes.slice(BODY.key, BODY.secret),
    secret: bytes.slice(BODY.secret, BODY.addresses),
    addresses,
  };
}

const MALFORMED = 'the token contains invalid addresses';

function decodeAddress(bytes: Uint8Array): { address: HubAddress; length: number } | undefined {
  const head = bytes[0]!;
  if ((head & ~(KIND_MASK | FLAG.tls | FLAG.port)) !== 0) return undefined;
  const kind = head & KIND_MASK;
  const hasPort = (head & FLAG.port) !== 0;
  let at = hasPort ? 3 : 1;
  const port = hasPort ? (bytes[1] ?? 0) | ((bytes[2] ?? 0) << 8) : USUAL_PORT;
  const length =
    kind === KIND.ipv4 ? 4 : kind === KIND.ipv6 ? 16 : kind === KIND.name ? (bytes[at++] ?? 0) : 0;
  const field = bytes.subarray(at, at + length);
  if (length === 0 || field.length < length || port === 0) return undefined;
  const host = kind === KIND.name ? String.fromCharCode(...field) : formatAddress(field);
  if (kind === KIND.name && !isHostName(host)) return undefined;
  return { address: { host, port, tls: (head & FLAG.tls) !== 0 }, length: at + length };
}

const wrong = (what: string): LametunError =>
  new LametunError(
    'usage',
    `${what}; paste the whole command that \`lametun serve\` or \`lametun invite\` printed`,
  );

/** CRC-32 as in Ethernet and zip (ISO 3309), bit by bit: against typing errors, not against attacks. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
