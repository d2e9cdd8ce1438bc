import { ERRNO } from '../ffi/errno.js';
import { call, errno, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';
import { checkDeviceName } from '../net/link.js';

const O_RDWR = 0x2;
const O_NONBLOCK = 0x800;
const O_CLOEXEC = 0x80000;

/** linux/if_tun.h. */
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNGETIFF = 0x800454d2;
const IFF_TUN = 0x1;
const IFF_NO_PI = 0x1000;
const IFF_TUN_EXCL = 0x8000;
export const IFF_VNET_HDR = 0x4000;

/** TUN_F_*: what the reader accepts. USO needs Linux 6.2, for both IP versions together. */
const OFFLOAD = { checksum: 0x01, tso: 0x02 | 0x04, uso: 0x20 | 0x40 } as const;

/** struct ifreq, linux/if.h: name char[16], flags u16 @16. 40 bytes on 64-bit machines. */
export const IFREQ = { name: 0, flags: 16, size: 40, nameLength: 16 } as const;

/**
 * struct tun_pi, linux/if_tun.h: precedes each packet if a device is opened *with* packet
 * information. flags u16 in host order (always 0 here), protocol u16 in network order.
 */
export const PACKET_INFORMATION = { flags: 0, protocol: 2, size: 4 } as const;

/** EtherTypes in the packet information, linux/if_ether.h. */
export const ETHERTYPE = { ipv4: 0x0800, ipv6: 0x86dd } as const;

export interface TunOptions {
  /** The device's name. The device is made if it does not exist. */
  readonly name: string;
  /** Whether each packet is preceded by `PACKET_INFORMATION`. */
  readonly packetInformation: boolean;
  /** Whether each packet is preceded by a `virtio_net_hdr`, so that `setOffloads` is possible. */
  readonly virtioHeader?: boolean;
  /** Whether the device must be new: an existing one with that name is an error. */
  readonly exclusive?: boolean;
}

/** Merged packets that a device exchanges with the program. */
export interface Offloads {
  /** Packets come with a `virtio_net_hdr` of 10 bytes. */
  readonly virtioHeader: boolean;
  /** Merged TCP segments, both IP versions. */
  readonly tcp: boolean;
  /** Merged UDP datagrams, both IP versions. */
  readonly udp: boolean;
}

/** An open TUN device. A read returns a packet that the kernel sends; a write gives the kernel a packet to receive. */
export class Tun {
  readonly name: string;
  readonly fd: number;

  private constructor(name: string, fd: number) {
    this.name = name;
    this.fd = fd;
  }

  /**
   * Attaches to a TUN device, and makes it if it does not exist. A device that is made here goes away with its last
   * descriptor, together with its addresses and routes. The descriptor does not block.
   *
   * @throws LinuxError if the kernel refuses, or has no TUN; LametunError `usage` for a name that is not allowed
   */
  static open({ name, packetInformation, virtioHeader = false, exclusive = false }: TunOptions): Tun {
    checkDeviceName(name);
    const fd = openDeviceNode();
    try {
      const request = allocate(IFREQ.size);
      const flags =
        IFF_TUN |
        (packetInformation ? 0 : IFF_NO_PI) |
        (virtioHeader ? IFF_VNET_HDR : 0) |
        (exclusive ? IFF_TUN_EXCL : 0);
      request.bytes.set(new TextEncoder().encode(name), IFREQ.name);
      request.view.setUint16(IFREQ.flags, flags, true);
      call(libc.ioctl(fd, TUNSETIFF, request.address), `TUNSETIFF ${name}`, {
        [ERRNO.EPERM]: `needs CAP_NET_ADMIN, or create the device for this user with \`ip tuntap add dev ${name} mode tun user NAME\``,
        [ERRNO.EBUSY]: exclusive
          ? `an interface of that name exists already, perhaps of another network: choose another name with --interface, or stop the program that has it`
          : 'another program is attached to it: stop that one, or choose another device',
        [ERRNO.EINVAL]:
          'it is not a TUN device, or was made with other flags (multi_queue, vnet_hdr): choose another device',
      });
      return new Tun(name, fd);
    } catch (error) {
      libc.close(fd);
      throw error;
    }
  }

  close(): void {
    libc.close(this.fd);
  }
}

function openDeviceNode(): number {
  const path = '/dev/net/tun';
  const load = 'this kernel offers no TUN: load it with `modprobe tun`, or give the container /dev/net/tun';
  return call(libc.open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC), `open ${path}`, {
    [ERRNO.ENOENT]: load,
    [ERRNO.ENODEV]: load,
    [ERRNO.EPERM]: 'the container must be given the device /dev/net/tun',
    [ERRNO.EACCES]: 'needs root, or `chmod 666 /dev/net/tun` as most distributions have it',
  });
}

/**
 * Switches on a device's offloads: it then sends and accepts merged TCP segments and UDP datagrams. A removed device
 * has none; its reader will learn that it is gone.
 *
 * @param fd of a TUN device that any program has opened
 * @param allowed the offloads that may be used
 * @throws LinuxError if the descriptor is something else
 */
export function setOffloads(fd: number, allowed = { tcp: true, udp: true }): Offloads {
  const request = allocate(IFREQ.size);
  const known = libc.ioctl(fd, TUNGETIFF, request.address);
  if (known < 0 && errno() === ERRNO.EBADFD) return { virtioHeader: false, tcp: false, udp: false };
  call(known, `TUNGETIFF ${fd}`);
  const virtioHeader = (request.view.getUint16(IFREQ.flags, true) & IFF_VNET_HDR) !== 0;
  const can = (flags: number): boolean => virtioHeader && libc.ioctl(fd, TUNSETOFFLOAD, flags) === 0;
  const tso = allowed.tcp ? OFFLOAD.tso : 0;
  const udp = allowed.udp && can(OFFLOAD.checksum | tso | OFFLOAD.uso);
  const tcp = allowed.tcp && (udp || can(OFFLOAD.checksum | tso));
  if (!tcp && !udp) clearOffloads(fd); // the previous user of the device may have switched some on
  return { virtioHeader, tcp, udp };
}

/** Switches offloads off, so that the next user of a device that stays gets no packets above the MTU. */
export const clearOffloads = (fd: number): void => void libc.ioctl(fd, TUNSETOFFLOAD, 0);
