import type { Cidr } from '../ip/cidr.js';
import { wholePacket } from '../ip/packet.js';
import { ETHERTYPE, PACKET_INFORMATION } from '../linux/tun/tun.js';

/**
 * What the post's program puts into a UDP datagram: exactly what it read from the TUN device. It opened the
 * device *with* packet information, so that is 4 bytes (flags, EtherType) and then one IP packet.
 *
 *     | IPv4 20 or IPv6 40 | UDP 8 | flags 2 | EtherType 2 | the IP packet |
 *
 * Here the device is opened without packet information, because one read may return many packets
 * (`packets/tun-packets.ts`). This program adds and removes the four bytes. On the wire there is no difference.
 */
export const PACKET = PACKET_INFORMATION.size;

/** Writes the four bytes in front of a packet. */
export function writePacketInformation(view: DataView, offset: number, version: 4 | 6): void {
  view.setUint16(offset + PACKET_INFORMATION.flags, 0);
  view.setUint16(offset + PACKET_INFORMATION.protocol, version === 4 ? ETHERTYPE.ipv4 : ETHERTYPE.ipv6);
}

/**
 * The post accepts anything. This is the least to check: the EtherType matches the packet, and the packet is
 * whole.
 *
 * @returns 4 or 6, or 0 if it is not a datagram of this protocol
 */
export function checkDatagram(view: DataView, offset: number, length: number): 4 | 6 | 0 {
  if (length < PACKET) return 0;
  const version = wholePacket(view, offset + PACKET, length - PACKET);
  if (version === 0 || view.getUint16(offset + PACKET_INFORMATION.flags) !== 0) return 0;
  const etherType = view.getUint16(offset + PACKET_INFORMATION.protocol);
  return etherType === (version === 4 ? ETHERTYPE.ipv4 : ETHERTYPE.ipv6) ? version : 0;
}

const UDP_HEADER = 8;
const OUTER_HEADER = { 4: 20, 6: 40 } as const;

/** The MTU of Ethernet, the usual path. */
const USUAL_PATH_MTU = 1500;

/** The largest packet of any tunnel: a UDP datagram over IPv4 carries at most 65507 bytes. */
export const MAX_MTU = 65_507 - PACKET;

/** RFC 791 requires 68 bytes of every link, RFC 8200 1280 bytes. A device with less has no IPv6. */
const LEAST_MTU = { 4: 68, 6: 1280 } as const;

/** The smallest MTU of a device with these addresses or routes. */
export const leastMtu = (networks: readonly Cidr[]): number =>
  networks.some(({ address }) => address.length === 16) ? LEAST_MTU[6] : LEAST_MTU[4];

/**
 * The MTU at which every packet fits a datagram without fragments. The post says 1472 for a path of
 * 1500 bytes and forgets the 4 bytes of packet information: 1500 - 20 - 8 - 4 = 1468.
 *
 * @param path the path's MTU in bytes; undefined if it is not known
 * @param outer the IP version of the datagrams
 */
export function tunnelMtu(path: number | undefined, outer: 4 | 6): number {
  return Math.min(MAX_MTU, (path ?? USUAL_PATH_MTU) - OUTER_HEADER[outer] - UDP_HEADER - PACKET);
}
