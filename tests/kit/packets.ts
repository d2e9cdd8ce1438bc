import { sumReference } from '../../src/ip/checksum.js';
import { IPV4, IPV6, PROTOCOL, TCP, TCP_FLAG, UDP } from '../../src/ip/packet.js';
import { GSO, NEEDS_CHECKSUM, VIRTIO } from '../../src/ip/virtio.js';
import { withTransportChecksum } from './segment-reference.js';

/** The fields of a test packet. Omitted fields have usual values. */
export interface PacketShape {
  readonly version?: 4 | 6;
  readonly protocol?: 'tcp' | 'udp';
  /** Last byte of the source address. */
  readonly source?: number;
  readonly destination?: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly payload: Uint8Array;
  readonly trafficClass?: number;
  readonly hopLimit?: number;
  readonly flowLabel?: number;
  readonly identification?: number;
  readonly dontFragment?: boolean;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  readonly flags?: number;
  readonly window?: number;
  /** TCP options; a multiple of four bytes. */
  readonly options?: Uint8Array;
}

/** A TCP or UDP packet with valid checksums. */
export function makePacket(shape: PacketShape): Uint8Array {
  const { version = 4, protocol = 'tcp', options = new Uint8Array(0), payload } = shape;
  const ipLength = version === 4 ? IPV4.minLength : IPV6.headerLength;
  const transportLength = protocol === 'tcp' ? TCP.minLength + options.length : UDP.headerLength;
  const packet = new Uint8Array(ipLength + transportLength + payload.length);
  const view = new DataView(packet.buffer);
  const number = protocol === 'tcp' ? PROTOCOL.tcp : PROTOCOL.udp;
  if (version === 4) writeIpv4(packet, shape, number);
  else writeIpv6(packet, shape, number);
  view.setUint16(ipLength, shape.sourcePort ?? 40_000);
  view.setUint16(ipLength + 2, shape.destinationPort ?? 5201);
  if (protocol === 'tcp') {
    view.setUint32(ipLength + TCP.sequence, shape.sequence ?? 1);
    view.setUint32(ipLength + TCP.acknowledgment, shape.acknowledgment ?? 1);
    view.setUint8(ipLength + TCP.dataOffset, (transportLength / 4) << 4);
    view.setUint8(ipLength + TCP.flags, shape.flags ?? TCP_FLAG.ack);
    view.setUint16(ipLength + TCP.flags + 1, shape.window ?? 500);
    packet.set(options, ipLength + TCP.minLength);
  } else {
    view.setUint16(ipLength + UDP.length, transportLength + payload.length);
  }
  packet.set(payload, ipLength + transportLength);
  return withTransportChecksum(packet, ipLength, number);
}

function writeIpv4(packet: Uint8Array, shape: PacketShape, protocol: number): void {
  const view = new DataView(packet.buffer);
  view.setUint8(0, 0x45);
  view.setUint8(IPV4.typeOfService, shape.trafficClass ?? 0);
  view.setUint16(IPV4.totalLength, packet.length);
  view.setUint16(IPV4.identification, shape.identification ?? 0);
  view.setUint16(IPV4.fragment, (shape.dontFragment ?? true) ? 0x4000 : 0);
  view.setUint8(IPV4.timeToLive, shape.hopLimit ?? 64);
  view.setUint8(IPV4.protocol, protocol);
  packet.set([10, 0, 0, shape.source ?? 1], IPV4.source);
  packet.set([10, 0, 1, shape.destination ?? 1], IPV4.destination);
  fixIpv4Checksum(packet);
}

function writeIpv6(packet: Uint8Array, shape: PacketShape, protocol: number): void {
  const view = new DataView(packet.buffer);
  view.setUint32(0, 0x60000000 | ((shape.trafficClass ?? 0) << 20) | (shape.flowLabel ?? 0x12345));
  view.setUint16(IPV6.payloadLength, packet.length - IPV6.headerLength);
  view.setUint8(IPV6.nextHeader, protocol);
  view.setUint8(IPV6.hopLimit, shape.hopLimit ?? 64);
  packet.set([0xfd, 0], IPV6.source);
  packet[IPV6.source + 15] = shape.source ?? 1;
  packet.set([0xfd, 0, 1], IPV6.destination);
  packet[IPV6.destination + 15] = shape.destination ?? 1;
}

/** Recomputes the checksum of the IPv4 header. */
export function fixIpv4Checksum(packet: Uint8Array): Uint8Array {
  const view = new DataView(packet.buffer, packet.byteOffset);
  view.setUint16(IPV4.checksum, 0);
  view.setUint16(IPV4.checksum, 0xffff - sumReference(packet, 0, (packet[0]! & 15) * 4));
  return packet;
}

/** A packet as the kernel passes it for segmentation: with a virtio_net_hdr and a partial checksum. */
export function makeSuperPacket(shape: PacketShape, gsoSize: number): Uint8Array {
  const { version = 4, protocol = 'tcp', payload } = shape;
  const packet = makePacket(shape);
  const ipLength = version === 4 ? IPV4.minLength : IPV6.headerLength;
  const offset: number = protocol === 'tcp' ? TCP.checksum : UDP.checksum;
  const result = new Uint8Array(VIRTIO.length + packet.length);
  const view = new DataView(result.buffer);
  view.setUint8(VIRTIO.flags, NEEDS_CHECKSUM);
  view.setUint8(VIRTIO.gsoType, protocol === 'udp' ? GSO.udp : version === 4 ? GSO.tcp4 : GSO.tcp6);
  view.setUint16(VIRTIO.headerLength, packet.length - payload.length, true);
  view.setUint16(VIRTIO.gsoSize, gsoSize, true);
  view.setUint16(VIRTIO.checksumStart, ipLength, true);
  view.setUint16(VIRTIO.checksumOffset, offset, true);
  result.set(packet, VIRTIO.length);
  const length = packet.length - ipLength;
  const covered = [
    ...(version === 4 ? packet.slice(12, 20) : packet.slice(8, 40)),
    0,
    protocol === 'tcp' ? PROTOCOL.tcp : PROTOCOL.udp,
    length >> 8,
    length & 255,
  ];
  const partial = sumReference(Uint8Array.from(covered), 0, covered.length);
  view.setUint16(VIRTIO.length + ipLength + offset, partial);
  return result;
}
