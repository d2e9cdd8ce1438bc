import type { Rate } from '../token-bucket.js';
import { fold, pseudoHeaderSum, sumReference } from './checksum.js';
import { IPV4, IPV6, PROTOCOL } from './packet.js';
import type { Arena } from './virtio.js';

/** "Destination unreachable" of RFC 792 and RFC 4443 §3.1, with the codes for host and address; the header's length. */
const HOST_UNREACHABLE = { type: 3, code: 1 } as const;
const ADDRESS_UNREACHABLE = { type: 1, code: 3 } as const;
const ICMP = { type: 0, code: 1, checksum: 2, headerLength: 8 } as const;

/** The largest answers: RFC 1812 §4.3.2.3, RFC 4443 §2.4 (c). */
const MAX_IPV4 = 576;
const MAX_IPV6 = 1280;
/** Bytes of memory that an answer needs. */
export const UNREACHABLE_LENGTH = MAX_IPV6;

/** Precedence "internetwork control", RFC 1812 §5.3.2; and Linux's default time to live. */
const TYPE_OF_SERVICE = 0xc0;
const HOP_LIMIT = 64;
const DONT_FRAGMENT = 0x4000;

/**
 * Writes the answer to a packet that cannot be delivered, so that the application need not wait. The answer comes from
 * the packet's destination, because the kernel would refuse a source that is an address of this machine.
 *
 * @param packet where in the arena a whole packet begins (`wholePacket`)
 * @param out where in its memory to write the answer, with `UNREACHABLE_LENGTH` bytes of room
 * @returns its length; 0 if the packet must not be answered: see `mayAnswer4` and `mayAnswer6`
 */
export function writeUnreachable(
  arena: Arena,
  packet: number,
  version: 4 | 6,
  length: number,
  memory: Arena,
  out: number,
): number {
  return version === 4
    ? writeUnreachable4(arena, packet, length, memory, out)
    : writeUnreachable6(arena, packet, length, memory, out);
}

function writeUnreachable4(arena: Arena, packet: number, length: number, memory: Arena, out: number): number {
  if (!mayAnswer4(arena.view, packet)) return 0;
  const { bytes, view } = memory;
  const icmp = out + IPV4.minLength;
  const total = quote(arena, packet, length, memory, icmp, MAX_IPV4 - IPV4.minLength) + IPV4.minLength;
  view.setUint8(out + IPV4.versionAndHeaderLength, 0x45);
  view.setUint8(out + IPV4.typeOfService, TYPE_OF_SERVICE);
  view.setUint16(out + IPV4.totalLength, total);
  view.setUint16(out + IPV4.identification, 0);
  view.setUint16(out + IPV4.fragment, DONT_FRAGMENT);
  view.setUint8(out + IPV4.timeToLive, HOP_LIMIT);
  view.setUint8(out + IPV4.protocol, PROTOCOL.icmp);
  view.setUint16(out + IPV4.checksum, 0);
  view.setUint32(out + IPV4.source, arena.view.getUint32(packet + IPV4.destination));
  view.setUint32(out + IPV4.destination, arena.view.getUint32(packet + IPV4.source));
  view.setUint16(out + IPV4.checksum, ~sumReference(bytes, out, IPV4.minLength) & 0xffff);
  view.setUint8(icmp + ICMP.type, HOST_UNREACHABLE.type);
  view.setUint8(icmp + ICMP.code, HOST_UNREACHABLE.code);
  view.setUint16(icmp + ICMP.checksum, ~sumReference(bytes, icmp, total - IPV4.minLength) & 0xffff);
  return total;
}

function writeUnreachable6(arena: Arena, packet: number, length: number, memory: Arena, out: number): number {
  if (!mayAnswer6(arena.view, packet, length)) return 0;
  const { bytes, view } = memory;
  const icmp = out + IPV6.headerLength;
  const payload = quote(arena, packet, length, memory, icmp, MAX_IPV6 - IPV6.headerLength);
  view.setUint32(out, 0x60000000);
  view.setUint16(out + IPV6.payloadLength, payload);
  view.setUint8(out + IPV6.nextHeader, PROTOCOL.icmpv6);
  view.setUint8(out + IPV6.hopLimit, HOP_LIMIT);
  for (let i = 0; i < 16; i += 4) {
    view.setUint32(out + IPV6.source + i, arena.view.getUint32(packet + IPV6.destination + i));
    view.setUint32(out + IPV6.destination + i, arena.view.getUint32(packet + IPV6.source + i));
  }
  view.setUint8(icmp + ICMP.type, ADDRESS_UNREACHABLE.type);
  view.setUint8(icmp + ICMP.code, ADDRESS_UNREACHABLE.code);
  const sum = pseudoHeaderSum(view, out, PROTOCOL.icmpv6, payload) + sumReference(bytes, icmp, payload);
  view.setUint16(icmp + ICMP.checksum, ~fold(sum) & 0xffff);
  return IPV6.headerLength + payload;
}

/** Writes as much of the packet as fits behind an empty ICMP header. @returns the length of both */
function quote(
  { bytes }: Arena,
  packet: number,
  length: number,
  memory: Arena,
  icmp: number,
  room: number,
): number {
  const quoted = Math.min(length, room - ICMP.headerLength);
  for (let i = 0; i < ICMP.headerLength; i++) memory.bytes[icmp + i] = 0;
  for (let i = 0; i < quoted; i++) memory.bytes[icmp + ICMP.headerLength + i] = bytes[packet + i]!;
  return ICMP.headerLength + quoted;
}

/** ICMP messages that are not errors, up to the last that Linux knows. */
const ICMP_QUERIES: ReadonlySet<number> = new Set([0, 8, 9, 10, 13, 14, 15, 16, 17, 18]);

/**
 * RFC 1122 §3.2.2: no answer to ICMP errors, to broadcasts and multicasts, to fragments except the first, or to a
 * source that is not one host.
 */
function mayAnswer4(view: DataView, packet: number): boolean {
  if ((view.getUint16(packet + IPV4.fragment) & 0x1fff) !== 0) return false;
  if (!isHost4(view.getUint8(packet + IPV4.source)) || !isHost4(view.getUint8(packet + IPV4.destination)))
    return false;
  if (view.getUint8(packet + IPV4.protocol) !== PROTOCOL.icmp) return true;
  const payload = packet + (view.getUint8(packet) & 0x0f) * 4;
  const end = packet + view.getUint16(packet + IPV4.totalLength);
  return payload < end && ICMP_QUERIES.has(view.getUint8(payload));
}

/** Judges by the first byte: "this network", loopback, multicast, reserved and broadcast addresses are not hosts. */
const isHost4 = (first: number): boolean => first !== 0 && first !== 127 && first < 224;

/** Extension headers that may precede the payload, RFC 8200 §4, and how many are followed. */
const EXTENSION = { hopByHop: 0, routing: 43, fragment: 44, destination: 60 } as const;
const MAX_EXTENSIONS = 8;

/** RFC 4443 §2.4 (e): the same for IPv6. A packet whose payload cannot be found is not answered. */
function mayAnswer6(view: DataView, packet: number, length: number): boolean {
  if (!isHost6(view, packet + IPV6.source) || !isHost6(view, packet + IPV6.destination)) return false;
  const end = packet + length;
  let header = view.getUint8(packet + IPV6.nextHeader);
  let at = packet + IPV6.headerLength;
  for (let i = 0; i < MAX_EXTENSIONS; i++) {
    if (header === PROTOCOL.icmpv6)
      return at < end && view.getUint8(at) >= 128 && view.getUint8(at) !== REDIRECT;
    const isFragment = header === EXTENSION.fragment;
    const isExtension =
      isFragment ||
      header === EXTENSION.hopByHop ||
      header === EXTENSION.routing ||
      header === EXTENSION.destination;
    if (!isExtension) return true;
    if (at + 8 > end) return false;
    if (isFragment && view.getUint16(at + 2) >> 3 !== 0) return false;
    header = view.getUint8(at);
    at += isFragment ? 8 : 8 + view.getUint8(at + 1) * 8;
  }
  return false;
}

/** Redirect has the number of an informational message, but is not answered either: RFC 4443 §2.4 (e.2). */
const REDIRECT = 137;

/** Whether an address is neither multicast, unspecified nor loopback. */
function isHost6(view: DataView, at: number): boolean {
  if (view.getUint8(at) === 0xff) return false;
  const high = view.getUint32(at) | view.getUint32(at + 4) | view.getUint32(at + 8);
  return high !== 0 || view.getUint32(at + 12) > 1;
}

/** Limits the answers of an interface, as `icmp_msgs_per_sec` and `icmp_msgs_burst` do in Linux. */
export const ANSWERS: Rate = { rate: 1000, burst: 50 };
