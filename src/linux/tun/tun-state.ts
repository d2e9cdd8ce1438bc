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
 * The name that a TUN device has now.
 *
 * @throws LinuxError EBADFD when it is gone, EBADF or ENOTTY when the descriptor is something else
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
 * Takes over a TUN device that another program has opened, without packet information.
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
 * Whether a TUN device is up, in whichever network namespace it is: tun_get_user() in drivers/net/tun.c. It is asked by
 * handing it the first byte of an IPv4 packet, which a device that is up takes, and the kernel then drops and counts as
 * an IP header error: not to be done often. (A shorter write is refused before the state is looked at.)
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
 * A TUN device where it is now.
 *
 * @returns 'here' when that is the calling thread's network namespace; else the device as it is in the other one, or
 * undefined when it has just left that one, too
 * @throws LinuxError EPERM without CAP_NET_ADMIN, ENOTTY where Linux is older than 4.20 or so
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
