import { ERRNO } from './errno.js';
import { call, libc } from './libc.js';
import { allocate } from './memory.js';

/** asm-generic/socket.h. */
const SOL_SOCKET = 1;
const SO_MARK = 36;

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
