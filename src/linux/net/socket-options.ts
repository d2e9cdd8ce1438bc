import { ERRNO } from '../ffi/errno.js';
import { call, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';

/** asm-generic/socket.h. */
export const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const SO_MARK = 36;
/** linux/in.h, linux/tcp.h. */
const IPPROTO_TCP = 6;
const TCP_MAXSEG = 2;

/** IPv6's smallest MTU, less the headers of IPv6 and TCP. */
const SAFE_SEGMENT = 1280 - 40 - 20;

/**
 * Sets the mark of a socket's packets, for routing rules and firewalls.
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

/** Sets an int option. @returns whether the kernel accepted it; `errno()` says why not */
export function trySocketOption(fd: number, level: number, option: number, value: number): boolean {
  const { view, address } = allocate(4);
  view.setInt32(0, value, true);
  return libc.setsockopt(fd, level, option, address, 4) === 0;
}

/**
 * Sets the size of the receive buffer in bytes. Only CAP_NET_ADMIN allows more than the system's limit; without it, the
 * limit applies.
 */
export function setReceiveBuffer(fd: number, size: number): void {
  if (!trySocketOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, size))
    trySocketOption(fd, SOL_SOCKET, SO_RCVBUF, size);
}

/**
 * Limits the segments of a listening TCP socket and its connections, in both directions, to a size that every path
 * carries. On a path with a narrow link and filtered ICMP, larger ones would be lost for ever.
 */
export function limitSegments(fd: number): void {
  trySocketOption(fd, IPPROTO_TCP, TCP_MAXSEG, SAFE_SEGMENT);
}
