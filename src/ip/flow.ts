import { IPV4, IPV6, PROTOCOL, TCP, UDP } from './packet.js';

/**
 * What merging needs to know about a packet. `other` belongs to no flow that is merged. `opaque` may belong to one, but
 * its ports are hard to find: fragments, IPv4 options, IPv6 extension headers, lengths that do not fit.
 */
export const KIND = { other: 0, opaque: 1, tcp4: 2, udp4: 3, tcp6: 4, udp6: 5 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

export const isIpv4 = (kind: Kind): boolean => kind === KIND.tcp4 || kind === KIND.udp4;
export const isTcp = (kind: Kind): boolean => kind === KIND.tcp4 || kind === KIND.tcp6;

/** Classifies a packet. Every kind except `other` and `opaque` has complete fixed headers. */
export function findKind(view: DataView, offset: number, length: number): Kind {
  if (length < IPV4.minLength) return KIND.other;
  const first = view.getUint8(offset);
  if (first >> 4 === 4) {
    const protocol = view.getUint8(offset + IPV4.protocol);
    if (protocol !== PROTOCOL.tcp && protocol !== PROTOCOL.udp) return KIND.other;
    const plain = first === 0x45 && (view.getUint16(offset + IPV4.fragment) & 0xbfff) === 0;
    if (!plain || view.getUint16(offset + IPV4.totalLength) !== length) return KIND.opaque;
    if (protocol === PROTOCOL.tcp) return length >= IPV4.minLength + TCP.minLength ? KIND.tcp4 : KIND.opaque;
    return length >= IPV4.minLength + UDP.headerLength ? KIND.udp4 : KIND.opaque;
  }
  if (first >> 4 !== 6 || length < IPV6.headerLength) return KIND.other;
  const protocol = view.getUint8(offset + IPV6.nextHeader);
  if (protocol !== PROTOCOL.tcp && protocol !== PROTOCOL.udp) {
    return isExtensionHeader(protocol) ? KIND.opaque : KIND.other;
  }
  if (view.getUint16(offset + IPV6.payloadLength) + IPV6.headerLength !== length) return KIND.opaque;
  if (protocol === PROTOCOL.tcp) return length >= IPV6.headerLength + TCP.minLength ? KIND.tcp6 : KIND.opaque;
  return length >= IPV6.headerLength + UDP.headerLength ? KIND.udp6 : KIND.opaque;
}

/** Where the transport header begins. */
export const transportOf = (kind: Kind): number => (isIpv4(kind) ? IPV4.minLength : IPV6.headerLength);

/** IANA's IPv6 extension header types that TCP or UDP may follow. */
function isExtensionHeader(protocol: number): boolean {
  switch (protocol) {
    case 0: // hop-by-hop options
    case 43: // routing
    case 44: // fragment
    case 51: // authentication
    case 60: // destination options
    case 135: // mobility
    case 139: // host identity
    case 140: // shim6
      return true;
    default:
      return false;
  }
}

/** Whether two packets of one kind have the same addresses and ports. */
export function sameFlow(view: DataView, kind: Kind, a: number, b: number): boolean {
  const end = transportOf(kind) + 4;
  for (let i = isIpv4(kind) ? IPV4.source : IPV6.source; i < end; i += 4) {
    if (view.getInt32(a + i) !== view.getInt32(b + i)) return false;
  }
  return true;
}

/** TCP's fourth word without PSH and FIN: data offset, reserved bits, flags, window. */
const TCP_MUST_MATCH = ~0x00090000;

/**
 * Whether two packets of one flow and equal header length agree in everything that Linux compares before it merges them
 * (inet_gro_flush, ipv6_gro_receive, tcp_gro_receive), except the IPv4 identification and the sequence number.
 */
export function sameHeaders(view: DataView, kind: Kind, a: number, b: number, headerLength: number): boolean {
  if (isIpv4(kind)) {
    // Type of service, DF, time to live.
    if (((view.getInt32(a) ^ view.getInt32(b)) & 0xffff0000) !== 0) return false;
    if (view.getUint16(a + IPV4.fragment) !== view.getUint16(b + IPV4.fragment)) return false;
    if (view.getUint8(a + IPV4.timeToLive) !== view.getUint8(b + IPV4.timeToLive)) return false;
  } else {
    // Traffic class and flow label, hop limit.
    if (view.getInt32(a) !== view.getInt32(b)) return false;
    if (view.getUint8(a + IPV6.hopLimit) !== view.getUint8(b + IPV6.hopLimit)) return false;
  }
  if (!isTcp(kind)) return true;
  const transport = transportOf(kind);
  const acknowledgment = transport + TCP.acknowledgment;
  if (view.getInt32(a + acknowledgment) !== view.getInt32(b + acknowledgment)) return false;
  const word = transport + TCP.dataOffset;
  if (((view.getInt32(a + word) ^ view.getInt32(b + word)) & TCP_MUST_MATCH) !== 0) return false;
  for (let i = transport + TCP.minLength; i < headerLength; i += 4) {
    if (view.getInt32(a + i) !== view.getInt32(b + i)) return false;
  }
  return true;
}
