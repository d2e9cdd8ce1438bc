import { ERRNO } from '../ffi/errno.js';
import { call, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';

/** asm-generic/socket.h. */
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const SO_MARK = 36;
/** linux/in.h, linux/tcp.h. */
const IPPROTO_TCP = 6;
const TCP_MAXSEG = 2;

/** IPv6's smallest MTU, less the headers of IPv6 and TCP. */
const SAFE_SEGMENT = 1280 - 40 - 20;

/**
 * Marks what a socket sends, for rules of routing and firewalls.
 *
 * @param mark 32 bits; 0 for none
 * @throws LinuxError EPERM
 */
export function setSocketMark(fd: number, mark: number): void {
  const { view, address } = allocate(4);
  view.setUint32(0, mark, true);
  call(libc.setsockopt(fd, SOL_SOCKET, SO_MARK, address, 4), `set the mark ${mark}`, {
    [ERRNO.EPERM]: 'needs root, or the capability CAP_NET_ADMIN',
  });
}

/** Sets an option that is an int. @returns whether the kernel took it; `errno()` says why not */
export function trySocketOption(fd: number, level: number, option: number, value: number): boolean {
  const { view, address } = allocate(4);
  view.setInt32(0, value, true);
  return libc.setsockopt(fd, level, option, address, 4) === 0;
}

/**
 * Asks for room for what comes and is not read yet, in bytes. Beyond the system's limit only with CAP_NET_ADMIN; without
 * it the limit is what one gets.
 */
export function setReceiveBuffer(fd: number, size: number): void {
  if (!trySocketOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, size))
    trySocketOption(fd, SOL_SOCKET, SO_RCVBUF, size);
}

/**
 * Lets a listening TCP socket, and all who connect to it, use segments that every path carries, both ways: a path with a
 * small link in the middle whose ICMP is filtered would lose all larger ones for ever.
 */
export function limitSegments(fd: number): void {
  trySocketOption(fd, IPPROTO_TCP, TCP_MAXSEG, SAFE_SEGMENT);
}
