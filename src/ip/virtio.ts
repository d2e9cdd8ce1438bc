/**
 * `struct virtio_net_hdr`, include/uapi/linux/virtio_net.h: what a TUN device with IFF_VNET_HDR puts before every
 * packet. Byte offsets; little-endian here, the order of the machines that this runs on (a TUN device takes native
 * order unless told otherwise).
 */
export const VIRTIO = {
  flags: 0,
  gsoType: 1,
  headerLength: 2,
  gsoSize: 4,
  checksumStart: 6,
  checksumOffset: 8,
  length: 10,
} as const;

/** The checksum field holds the pseudo-header's sum only; the rest, from `checksumStart` on, is yet to be added. */
export const NEEDS_CHECKSUM = 1;

/** Values of `VIRTIO.gsoType`: what a packet is to be cut into. */
export const GSO = { none: 0, tcp4: 1, tcp6: 4, udp: 5 } as const;

/** Set in `VIRTIO.gsoType` of a TCP packet with CWR, which only the first segment may carry, RFC 3168 §6.1.2. */
export const GSO_ECN = 0x80;

/** Memory with packets in it. The view must see the same bytes. */
export interface Arena {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}
