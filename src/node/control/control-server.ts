import { once } from 'node:events';
import { lstatSync, unlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { LametunError, usage } from '../../errors.js';
import { Connections, type ControlHandler } from './control-connection.js';
import { controlPath } from './operators.js';

const MOST_CONNECTIONS = 64;

export interface ControlServer {
  /** Ends endless requests, lets the others finish, and removes the socket. */
  close(): Promise<void>;
}

/**
 * Serves the control socket of a state directory, with mode 0600. The caller holds the directory's lock. The socket of a
 * killed process is replaced.
 *
 * @param program `lametun 0.1.0`, for clients of another version
 * @throws LametunError when the path is too long for a socket or is a directory, or its directory is not writable
 */
export async function serveControl(
  state: string,
  handle: ControlHandler,
  program?: string,
): Promise<ControlServer> {
  const path = controlPath(state);
  if (Buffer.byteLength(path) > 107)
    throw usage(`${path} is too long for a socket: choose a shorter --state`);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory()) throw new LametunError('state', `${path} is a directory: remove it`);
  if (found !== undefined) unlinkSync(path);
  const connections = new Connections(MOST_CONNECTIONS, handle, program);
  const server = createServer({ allowHalfOpen: true }, (socket) => connections.add(socket));
  const listening = once(server, 'listening');
  const before = process.umask(0o177); // of the whole process, but only until `listen` has bound the socket
  server.listen(path);
  process.umask(before);
  await listening.catch((error: Error) => {
    throw new LametunError('linux', `cannot listen on ${path}: ${error.message}`, { cause: error });
  });
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await connections.stop();
      await closed;
    },
  };
}
