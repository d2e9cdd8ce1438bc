import { renameSync } from 'node:fs';
import koffi from 'koffi';
import { LametunError } from '../../errors.js';
import { ERRNO } from '../ffi/errno.js';
import { call, errno, libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';

/** linux/socket.h, linux/net.h, linux/un.h: family u16, path char[108]. */
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0x800;
const SOCK_CLOEXEC = 0x80000;
const SOCKADDR_UN = { family: 0, path: 2, pathLength: 108, size: 110 } as const;
/** asm-generic/socket.h; `struct ucred` of sys/socket.h: pid, uid, gid, 32 bits each. */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
const UCRED = { uid: 4, gid: 8, size: 12 } as const;

const libc_ = koffi.load(null);
const listen = libc_.func('int listen(int fd, int backlog)') as (fd: number, backlog: number) => number;
const accept4 = libc_.func('int accept4(int fd, intptr_t address, intptr_t length, int flags)') as (
  fd: number,
  address: number,
  length: number,
  flags: number,
) => number;

/** The next connection that waits at a listening socket, as a descriptor; -1 when there is none. */
export const acceptUnix = (fd: number): number => accept4(fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);

/**
 * Listens on a path, as a descriptor that another program may be given. From here on connections wait there to be
 * accepted. Only the owner may connect.
 *
 * @returns the descriptor, which does not block
 * @param path is replaced if it exists
 * @throws LinuxError ENOENT when its directory does not exist
 */
export function listenUnix(path: string, backlog = 128): number {
  // Until it listens it has another name: `wg` removes sockets on which nobody does.
  const unlistened = `${path}.${process.pid}`;
  const name = new TextEncoder().encode(unlistened);
  if (name.length >= SOCKADDR_UN.pathLength)
    throw new LametunError('usage', `${path} is too long for a socket`);
  const fd = call(libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'open a unix socket');
  const before = process.umask(0o177); // of the whole process: no other file is made meanwhile
  try {
    const { bytes, view, address } = allocate(SOCKADDR_UN.size);
    view.setUint16(SOCKADDR_UN.family, AF_UNIX, true);
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

/** Who has connected to a socket, as it was in that moment. */
export interface Peer {
  readonly uid: number;
  /** All groups that it is in. */
  readonly groups: readonly number[];
}

/** @throws LinuxError */
export function peerOf(fd: number): Peer {
  const { view } = peerOption(fd, SO_PEERCRED, UCRED.size);
  const { view: list, length } = peerOption(fd, SO_PEERGROUPS, 4 * 64);
  const others = Array.from({ length: length / 4 }, (_, i) => list.getUint32(4 * i, true));
  return { uid: view.getUint32(UCRED.uid, true), groups: [view.getUint32(UCRED.gid, true), ...others] };
}

/** @param room for so many bytes at first; the kernel says how many there are */
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
