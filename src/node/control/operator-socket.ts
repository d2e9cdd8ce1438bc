import { chmodSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { LametunError, usage } from '../../errors.js';
import { libc } from '../../linux/ffi/libc.js';
import { safeDirectory } from '../../linux/files/safe-files.js';
import { acceptUnix, listenUnix, peerOf } from '../../linux/net/unix-socket.js';
import { watchReadable } from '../../linux/net/watch.js';
import { Connections, type ControlHandler } from './control-connection.js';
import type { ControlServer } from './control-server.js';
import { mayAsk, OPERATORS_DIRECTORY, operatorsPath, type Standing, standingOf } from './operators.js';

/** Connections at once. Strangers are only told that they may not ask. */
const MOST = { owner: 32, operator: 32, stranger: 8 } as const;
/** How many connections to accept before other events have a turn. */
const AT_A_TIME = 16;

/** The local group that may ask about the state. */
export interface Operators {
  /** As root typed it. */
  readonly name: string;
  readonly group: number;
}

/**
 * Answers the operators of a state directory, whose lock the caller holds.
 *
 * @throws LametunError when the socket cannot be made
 */
export function serveOperators(
  state: string,
  { name, group }: Operators,
  handle: ControlHandler,
  program?: string,
): ControlServer {
  const path = operatorsPath(state);
  const fd = openSocket(path);
  const rights = { owner: process.geteuid!(), group };
  const guarded = (standing: Standing): Connections =>
    new Connections(
      MOST[standing],
      async (request, answer, signal) => {
        if (!mayAsk(standing, request)) throw usage(refusal(standing, name));
        await handle(request, answer, signal);
      },
      program,
    );
  const [owner, operator, stranger] = [guarded('owner'), guarded('operator'), guarded('stranger')];
  const connections = { owner, operator, stranger };
  const watch = watchReadable(fd, () => {
    for (let i = 0; i < AT_A_TIME; i++) {
      const accepted = acceptUnix(fd);
      if (accepted < 0) return;
      const standing = standingOf(peerOf(accepted), rights);
      connections[standing].add(
        new Socket({ fd: accepted, readable: true, writable: true, allowHalfOpen: true }),
      );
    }
  });
  return {
    async close() {
      watch.close();
      libc.close(fd);
      rmSync(path, { force: true });
      await Promise.all(Object.values(connections).map((each) => each.stop()));
    },
  };
}

/** Removes the socket of a killed process. */
export const removeOperatorSocket = (state: string): void => rmSync(operatorsPath(state), { force: true });

function openSocket(path: string): number {
  try {
    safeDirectory(OPERATORS_DIRECTORY);
    chmodSync(OPERATORS_DIRECTORY, 0o711);
    const fd = listenUnix(path);
    chmodSync(path, 0o666);
    return fd;
  } catch (error) {
    throw new LametunError('linux', `cannot make ${path} for --operators: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

const refusal = (standing: Standing, group: string): string =>
  standing === 'operator'
    ? `members of the group ${group} may only use \`lametun status\`, \`ping\` and \`nodes\`: try sudo`
    : `only root may ask this; members of the group ${group} may use \`lametun status\`, \`ping\` and \`nodes\`: try sudo, or ask root to add you to that group, and log in again`;
