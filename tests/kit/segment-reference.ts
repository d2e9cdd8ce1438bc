import { sumReference } from '../../src/ip/checksum.js';
import { IPV4, IPV6, PROTOCOL, TCP, TCP_FLAG, UDP } from '../../src/ip/packet.js';
import { GSO, GSO_ECN, NEEDS_CHECKSUM, VIRTIO } from '../../src/ip/virtio.js';

/**
 * Segments a well-formed super-packet like Linux in software (net/ipv4/tcp_offload.c, udp_offload.c): slow and obvious.
 * It ignores the partial checksum and computes the full one. The reference for `Segmenter`.
 *
 * @param input a virtio_net_hdr and an IP packet without IPv6 extension headers
 */
export function segmentReference(input: Uint8Array): Uint8Array[] {
  const header = new DataView(input.buffer, input.byteOffset, VIRTIO.length);
  const packet = input.slice(VIRTIO.length);
  const gsoType = header.getUint8(VIRTIO.gsoType) & ~GSO_ECN;
  if (gsoType === GSO.none) {
    if ((header.getUint8(VIRTIO.flags) & NEEDS_CHECKSUM) === 0) return [packet];
    const start = header.getUint16(VIRTIO.checksumStart, true);
    return [withChecksum(packet, start, header.getUint16(VIRTIO.checksumOffset, true))];
  }
  const version4 = packet[0]! >> 4 === 4;
  const ipLength = version4 ? (packet[0]! & 15) * 4 : IPV6.headerLength;
  const tcp = gsoType !== GSO.udp;
  const headerLength = ipLength + (tcp ? (packet[ipLength + TCP.dataOffset]! >> 4) * 4 : UDP.headerLength);
  const gsoSize = header.getUint16(VIRTIO.gsoSize, true);
  const segments: Uint8Array[] = [];
  for (let at = headerLength; at < packet.length; at += gsoSize) {
    const payload = packet.slice(at, at + gsoSize);
    const segment = new Uint8Array(headerLength + payload.length);
    segment.set(packet.slice(0, headerLength));
    segment.set(payload, headerLength);
    const index = segments.length;
    const last = at + gsoSize >= packet.length;
    if (version4) fixIpv4(segment, index);
    else new DataView(segment.buffer).setUint16(IPV6.payloadLength, segment.length - ipLength);
    if (tcp) fixTcp(segment, ipLength, at - headerLength, index === 0, last);
    else new DataView(segment.buffer).setUint16(ipLength + UDP.length, segment.length - ipLength);
    segments.push(withTransportChecksum(segment, ipLength, tcp ? PROTOCOL.tcp : PROTOCOL.udp));
  }
  return segments;
}

function fixIpv4(segment: Uint8Array, index: number): void {
  const view = new DataView(segment.buffer);
  view.setUint16(IPV4.totalLength, segment.length);
  view.setUint16(IPV4.identification, view.getUint16(IPV4.identification) + index);
  view.setUint16(IPV4.checksum, 0);
  view.setUint16(IPV4.checksum, 0xffff - sumReference(segment, 0, (segment[0]! & 15) * 4));
}

function fixTcp(segment: Uint8Array, at: number, payloadOffset: number, first: boolean, last: boolean): void {
  const view = new DataView(segment.buffer);
  view.setUint32(at + TCP.sequence, view.getUint32(at + TCP.sequence) + payloadOffset);
  if (!first) segment[at + TCP.flags]! &= ~TCP_FLAG.cwr;
  if (!last) segment[at + TCP.flags]! &= ~(TCP_FLAG.fin | TCP_FLAG.psh);
}

/** Computes the full checksum of a TCP or UDP packet. */
export function withTransportChecksum(packet: Uint8Array, at: number, protocol: number): Uint8Array {
  const version4 = packet[0]! >> 4 === 4;
  const offset = protocol === PROTOCOL.tcp ? TCP.checksum : UDP.checksum;
  const addresses = version4 ? packet.slice(12, 20) : packet.slice(8, 40);
  const view = new DataView(packet.buffer, packet.byteOffset);
  view.setUint16(at + offset, 0);
  const length = packet.length - at;
  const covered = [...addresses, 0, protocol, length >> 8, length & 255, ...packet.slice(at)];
  const checksum = 0xffff - sumReference(Uint8Array.from(covered), 0, covered.length);
  // RFC 768: a computed zero is sent as all ones, since zero means no checksum.
  view.setUint16(at + offset, protocol === PROTOCOL.udp && checksum === 0 ? 0xffff : checksum);
  return packet;
}

/** Completes a partial checksum like skb_checksum_help() in net/core/dev.c, which never writes zero. */
function withChecksum(packet: Uint8Array, start: number, offset: number): Uint8Array {
  const checksum = 0xffff - sumReference(packet, start, packet.length - start);
  new DataView(packet.buffer).setUint16(start + offset, checksum === 0 ? 0xffff : checksum);
  return packet;
}
