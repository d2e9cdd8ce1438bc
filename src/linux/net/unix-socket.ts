import { renameSync } from 'node:fs';
import { LametunError } from '../../errors.js';
import { ERRNO } from '../ffi/errno.js';
import { call, declare, errno, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';
import { AF, SOCK } from './socket-address.js';
import { SOL_SOCKET } from './socket-options.js';

/** linux/un.h: family u16, path char[108]. */
const SOCKADDR_UN = { family: 0, path: 2, pathLength: 108, size: 110 } as const;
/** asm-generic/socket.h; `struct ucred` of sys/socket.h: pid, uid, gid, 32 bits each. */
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
const UCRED = { uid: 4, gid: 8, size: 12 } as const;

const listen = declare<[fd: number, backlog: number]>('int listen(int fd, int backlog)');
const accept4 = declare<[fd: number, address: number, length: number, flags: number]>(
  'int accept4(int fd, intptr_t address, intptr_t length, int flags)',
);

/** Accepts the next waiting connection. @returns its descriptor; -1 if there is none */
export const acceptUnix = (fd: number): number => accept4(fd, 0, 0, SOCK.nonblock | SOCK.cloexec);

/**
 * Listens on a path, with a descriptor that can be passed to another program. Only the owner may connect.
 *
 * @param path replaced if it exists
 * @returns the descriptor, which does not block
 * @throws LinuxError ENOENT if its directory does not exist
 */
export function listenUnix(path: string, backlog = 128): number {
  // It has another name until it listens, because `wg` removes sockets that nobody listens on.
  const unlistened = `${path}.${process.pid}`;
  const name = new TextEncoder().encode(unlistened);
  if (name.length >= SOCKADDR_UN.pathLength)
    throw new LametunError('usage', `${path} is too long for a socket`);
  const fd = call(libc.socket(AF.unix, SOCK.stream | SOCK.nonblock | SOCK.cloexec, 0), 'open a unix socket');
  const before = process.umask(0o177); // for the whole process, which makes no other file meanwhile
  try {
    const { bytes, view, address } = allocate(SOCKADDR_UN.size);
    view.setUint16(SOCKADDR_UN.family, AF.unix, true);
    bytes.set(name, SOCKADDR_UN.path);
    call(libc.bind(fd, address, SOCKADDR_UN.path + name.length + 1), `listen on ${path}`);
    call(listen(fd, backlog), `listen on ${path}`);
    renameSync(unlistened, path);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  } finally {
    process.umask(before);
  }
}

/** The credentials of a connected process, when it connected. */
export interface PeerCredentials {
  readonly uid: number;
  /** All groups of its user. */
  readonly groups: readonly number[];
}

/** @throws LinuxError */
export function peerOf(fd: number): PeerCredentials {
  const { view } = peerOption(fd, SO_PEERCRED, UCRED.size);
  const { view: list, length } = peerOption(fd, SO_PEERGROUPS, 4 * 64);
  const others = Array.from({ length: length / 4 }, (_, i) => list.getUint32(4 * i, true));
  return { uid: view.getUint32(UCRED.uid, true), groups: [view.getUint32(UCRED.gid, true), ...others] };
}

/** @param room size of the first buffer; the kernel says how much it needs */
function peerOption(
  fd: number,
  option: number,
  room: number,
): { readonly view: DataView; readonly length: number } {
  const value = allocate(room);
  const length = allocate(4);
  length.view.setUint32(0, room, true);
  const result = libc.getsockopt(fd, SOL_SOCKET, option, value.address, length.address);
  const needed = length.view.getUint32(0, true);
  if (result < 0 && errno() === ERRNO.ERANGE && needed > room) return peerOption(fd, option, needed);
  call(result, 'ask who has connected');
  return { view: value.view, length: needed };
}
