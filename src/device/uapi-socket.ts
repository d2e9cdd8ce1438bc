import { once } from 'node:events';
import { lstatSync, mkdirSync, renameSync, unlinkSync, watch } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname } from 'node:path';
import { LametunError } from '../errors.js';
import { listenUnix } from '../linux/unix-socket.js';
import { UapiSession } from './uapi-session.js';
import type { SetContext } from './uapi-set.js';

/** Where `wg` looks for devices that programs provide. */
const DIRECTORY = '/var/run/wireguard';

export const uapiPath = (device: string): string => `${DIRECTORY}/${device}.sock`;

/** How many connections may be open at once; what comes beyond is closed. */
const MAX_CONNECTIONS = 128;
/** How long somebody may leave an answer unread, milliseconds. */
const READ_TIMEOUT = 30_000;

/**
 * Makes a device's configuration socket, 0600 in a directory that only root enters. One that a daemon left behind
 * when it was killed is replaced.
 *
 * @returns the descriptor, on which connections wait to be accepted
 * @throws LametunError `usage` when a daemon answers there; LinuxError
 */
export async function openUapiSocket(path: string): Promise<number> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
    if (await answers(path)) throw new LametunError('usage', `${path} is in use: a daemon answers on it`);
    unlinkSync(path);
  }
  // `wg` removes a socket that refuses it, as one does between bind(2) and listen(2): it gets its name afterwards.
  const unnamed = `${path}.${process.pid}`;
  const fd = listenUnix(unnamed);
  renameSync(unnamed, path);
  return fd;
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

/** Answers on a device's configuration socket. */
export class UapiServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(context: SetContext) {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      serve(socket, context);
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** @param fd as `openUapiSocket` made it; closed by `close` */
  static async listen(fd: number, context: SetContext): Promise<UapiServer> {
    const uapi = new UapiServer(context);
    uapi.#server.listen({ fd });
    await once(uapi.#server, 'listening');
    return uapi;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Serves one connection: a part at a time, and no more is read while somebody does not take the answers. */
function serve(socket: Socket, context: SetContext): void {
  const session = new UapiSession(context);
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
  socket.on('error', () => {}); // it is closed next, and that is all there is to it
  socket.on('close', () => session.abort());
  socket.on('data', (chunk: Buffer) => {
    socket.pause();
    send(session.handle(chunk))
      .then(() => {
        if (session.isOver)
          socket.destroySoon(); // and what it still says is nobody's concern
        else socket.resume();
      })
      .catch(fail)
      .finally(() => chunk.fill(0)); // there may be keys in it
  });
  socket.on('end', () => {
    send(session.end())
      .then(() => socket.destroySoon())
      .catch(fail);
  });
}

/** How often the socket is looked for where the kernel will not tell, milliseconds. */
const POLL_INTERVAL = 1000;

/** Calls once when the socket's file is removed, or replaced by another's: whoever does that wants us to end. */
export function watchRemoval(path: string, onRemoved: () => void): { close(): void } {
  const inode = lstatSync(path).ino;
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
    pollInstead(); // the user's share of inotify watches is used up
  }
  return { close };
}

/** Removes the socket's file, if it is still the one that `inode` names. */
export function removeUapiSocket(path: string, inode: number): void {
  try {
    if (lstatSync(path, { throwIfNoEntry: false })?.ino === inode) unlinkSync(path);
  } catch {} // its directory is gone, or not ours any more
}
