import { fstatSync, statSync } from 'node:fs';
import { ERRNO } from '../ffi/errno.js';
import { call, errno, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';
import { findLinkElsewhere, type Link } from '../net/link.js';
import { IFF_VNET_HDR, IFREQ } from './tun.js';

/** linux/if_tun.h. */
const TUNGETIFF = 0x800454d2;
const TUNGETDEVNETNS = 0x54e3;
/** asm-generic/fcntl.h. */
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0x800;

/**
 * The current name of a TUN device.
 *
 * @throws LinuxError EBADFD if it is gone, EBADF or ENOTTY if the descriptor is something else
 */
export function tunName(fd: number): string {
  const request = allocate(IFREQ.size);
  call(libc.ioctl(fd, TUNGETIFF, request.address), `TUNGETIFF ${fd}`, {
    [ERRNO.EBADFD]: 'the device was removed',
  });
  const name = new Uint8Array(request.bytes.slice(IFREQ.name, IFREQ.name + IFREQ.nameLength));
  return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
}

/**
 * Takes over a TUN device that another program has opened without packet information.
 *
 * @returns its name
 * @throws LinuxError; see `tunName`
 */
export function adoptTun(fd: number): string {
  const name = tunName(fd);
  const flags = call(libc.fcntl(fd, F_GETFL, 0), `fcntl ${fd}`);
  call(libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK), `fcntl ${fd}`);
  return name;
}

/**
 * Whether a TUN device is up, in any network namespace: tun_get_user() in drivers/net/tun.c. The test writes the first
 * byte of an IPv4 packet. A device that is up accepts it, and the kernel drops it and counts an IP header error, so
 * call this rarely. (A shorter write is refused before the state is checked.)
 */
export function tunState(fd: number): 'up' | 'down' | 'gone' {
  const request = allocate(IFREQ.size);
  const known = libc.ioctl(fd, TUNGETIFF, request.address) === 0;
  const header = known && (request.view.getUint16(IFREQ.flags, true) & IFF_VNET_HDR) !== 0 ? 10 : 0;
  const packet = allocate(header + 1);
  packet.bytes[header] = 0x40;
  if (libc.write(fd, packet.address, header + 1) >= 0) return 'up';
  switch (errno()) {
    case ERRNO.EIO:
      return 'down';
    case ERRNO.EBADFD:
      return 'gone';
    default:
      return 'up';
  }
}

/**
 * Finds the network namespace of a TUN device.
 *
 * @returns 'here' for the calling thread's; otherwise the device in the other one, or undefined if it has just left
 *   that one too
 * @throws LinuxError EPERM without CAP_NET_ADMIN, ENOTTY before Linux 4.20 or so
 */
export function whereIsTun(fd: number): 'here' | Link | undefined {
  const there = call(libc.ioctl(fd, TUNGETDEVNETNS, 0), 'TUNGETDEVNETNS');
  try {
    if (fstatSync(there).ino === statSync('/proc/thread-self/ns/net').ino) return 'here';
    return findLinkElsewhere(tunName(fd), there);
  } finally {
    libc.close(there);
  }
}
