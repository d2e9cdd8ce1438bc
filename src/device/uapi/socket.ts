import { once } from 'node:events';
import { lstatSync, rmSync, unlinkSync, watch } from 'node:fs';
import { connect, type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { basename, dirname } from 'node:path';
import { LametunError } from '../../errors.js';
import { libc } from '../../linux/ffi/libc.js';
import { safeDirectory } from '../../linux/files/safe-files.js';
import { acceptUnix, listenUnix } from '../../linux/net/unix-socket.js';
import { type Watch, watchReadable } from '../../linux/net/watch.js';
import { UapiSession } from './session.js';
import type { SetContext } from './set.js';

/** Where `wg` looks for devices that programs provide. */
const DIRECTORY = '/var/run/wireguard';

export const uapiPath = (device: string): string => `${DIRECTORY}/${device}.sock`;

/** How many connections may be open at once; further ones are closed. */
const MAX_CONNECTIONS = 128;
/** How long a client may leave an answer unread, milliseconds. */
const READ_TIMEOUT = 30_000;

/**
 * Makes a device's configuration socket, mode 0600, in a directory that only root can enter. The socket of a killed
 * daemon is replaced.
 *
 * @returns the listening descriptor
 * @throws LametunError `busy` if a daemon answers there; LinuxError
 */
export async function openUapiSocket(path: string): Promise<number> {
  safeDirectory(dirname(path));
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
    if (await answers(path))
      throw new LametunError('busy', `${path} is in use: a daemon answers on it; stop it first`);
    rmSync(path, { force: true }); // its owner may have removed it meanwhile
  }
  return listenUnix(path);
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return false;
    throw new LametunError('usage', `${path} is there, and is not a daemon's socket (${code}): remove it`);
  } finally {
    socket.destroy();
  }
}

/** How many bytes are read at a time. */
const READ_BUFFER = 65_536;

/** Answers on a device's configuration socket. */
export class UapiServer {
  readonly #fd: number;
  readonly #context: SetContext;
  readonly #watch: Watch;
  readonly #sockets = new Set<Socket>();

  /** @param fd from `openUapiSocket`; closed by `close` */
  constructor(fd: number, context: Omit<SetContext, 'interfaceIndex'>) {
    this.#fd = fd;
    this.#context = { ...context, interfaceIndex: libc.if_nametoindex };
    this.#watch = watchReadable(fd, () => this.#accept());
  }

  close(): void {
    this.#watch.close();
    libc.close(this.#fd);
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(): void {
    for (let fd = acceptUnix(this.#fd); fd >= 0; fd = acceptUnix(this.#fd)) {
      if (this.#sockets.size >= MAX_CONNECTIONS) {
        libc.close(fd);
        continue;
      }
      const socket = serve(fd, this.#context);
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    }
  }
}

/**
 * Serves one connection, one part at a time: nothing is read while the client does not take answers. Input is read into
 * a buffer of this function, and erased there: node's own buffers are larger than the input, and leave a copy behind.
 */
function serve(fd: number, context: SetContext): Socket {
  const session = new UapiSession(context);
  const buffer = Buffer.alloc(READ_BUFFER);
  const receive = (length: number): boolean => {
    const chunk = buffer.subarray(0, length);
    send(session.handle(chunk))
      .catch(fail)
      .finally(() => {
        chunk.fill(0); // it may contain keys
        if (session.isOver) socket.destroySoon();
        else socket.resume();
      });
    return false; // stop reading for now
  };
  const options: SocketConstructorOpts & { onread: OnReadOpts } = {
    ...{ fd, readable: true, writable: true, allowHalfOpen: true },
    onread: { buffer, callback: receive },
  };
  const socket = new Socket(options);
  const send = async (answers: Iterable<Buffer>): Promise<void> => {
    for (const part of answers) {
      if (socket.destroyed) return;
      if (socket.write(part, () => part.fill(0))) continue;
      socket.setTimeout(READ_TIMEOUT, () => socket.destroy());
      await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
      socket.setTimeout(0);
    }
  };
  const fail = (error: unknown): void => {
    if (!socket.destroyed) context.log.error(`UAPI: ${(error as Error).message}`);
    socket.destroy();
  };
  socket.on('error', () => {}); // `close` follows
  socket.on('close', () => session.abort());
  socket.on('end', () => {
    send(session.end())
      .then(() => socket.destroySoon())
      .catch(fail);
  });
  return socket;
}

/** How often to check for the socket if the kernel does not report changes, milliseconds. */
const POLL_INTERVAL = 1000;

/**
 * Calls `onRemoved` once when the socket's file is removed or replaced, which is how a user or program asks the device
 * to end; at once if the file does not have this `inode` now.
 */
export function watchRemoval(path: string, inode: number, onRemoved: () => void): { close(): void } {
  let poll: NodeJS.Timeout | undefined;
  const close = (): void => {
    watcher?.close();
    clearInterval(poll);
  };
  const look = (): void => {
    if (lstatSync(path, { throwIfNoEntry: false })?.ino === inode) return;
    close();
    onRemoved();
  };
  const pollInstead = (): void => {
    poll ??= setInterval(look, POLL_INTERVAL);
  };
  let watcher: ReturnType<typeof watch> | undefined;
  try {
    const name = basename(path);
    watcher = watch(dirname(path), (_event, file) => {
      if (file === null || file === name || file === basename(dirname(path))) look();
    });
    watcher.on('error', pollInstead);
  } catch {
    pollInstead(); // the user has no inotify watches left
  }
  look();
  return { close };
}

/** Removes the socket's file if it still has this inode. */
export function removeUapiSocket(path: string, inode: number): void {
  try {
    if (lstatSync(path, { throwIfNoEntry: false })?.ino === inode) unlinkSync(path);
  } catch {} // its directory is gone, or belongs to another user now
}
