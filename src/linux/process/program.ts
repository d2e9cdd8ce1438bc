import { type SpawnSyncOptions, type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { LametunError } from '../../errors.js';

/** The Debian package that brings a program, where its name is not the program's. */
const PACKAGE: Readonly<Record<string, string>> = {
  'systemd-analyze': 'systemd',
  ip: 'iproute2',
  nft: 'nftables',
  ping: 'iputils-ping',
  unshare: 'util-linux',
};

/** How to get a program that is not there. */
export const howToGet = (program: string): string => `apt install ${PACKAGE[program] ?? program}`;

/** An environment in which `ip` and `nft` are found: Debian has them in folders that are not on a user's PATH. */
export const withSystemPrograms = (env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv => ({
  ...env,
  PATH: `${env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`,
});

export interface RunOptions {
  /** What the program reads on its standard input. */
  readonly input?: string | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Milliseconds after which it is killed, and the run has failed. */
  readonly timeout?: number | undefined;
  /** Who needs the program, for the message when it is missing: `forwarding`. */
  readonly purpose?: string | undefined;
  /** Is told the program's process number when it has ended. */
  readonly onProcess?: ((pid: number) => void) | undefined;
}

/**
 * Runs a program to its end and gives what it printed. The calling thread waits. It is in a session of its own: the
 * Ctrl-C by which somebody ends us does not end what tidies up after us.
 *
 * @throws LametunError `missing` when there is no such program, `linux` when it did not end with status 0: the
 *   message is what it printed on stderr
 */
export function runProgram(program: string, args: readonly string[], options: RunOptions = {}): string {
  const env = withSystemPrograms(options.env);
  // Node takes `detached` here, too, though its types do not know it.
  const spawnOptions: SpawnSyncOptions & { detached: true } = {
    ...{ encoding: 'utf8', maxBuffer: 64 << 20, env },
    detached: true,
  };
  if (options.input !== undefined) spawnOptions.input = options.input;
  if (options.timeout !== undefined) spawnOptions.timeout = options.timeout;
  let done = spawnSync(program, args, spawnOptions);
  for (let i = 1; i < TRIES && wasInterrupted(done); i++) done = spawnSync(program, args, spawnOptions);
  options.onProcess?.(done.pid);
  const code = (done.error as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOENT') {
    const who = options.purpose === undefined ? 'this' : options.purpose;
    throw new LametunError('missing', `${who} needs the program ${program}: ${howToGet(program)}`);
  }
  if (done.error !== undefined || done.status !== 0) {
    const why =
      String(done.stderr ?? '').trim() ||
      done.error?.message ||
      (done.signal === null ? `it ended with status ${done.status}` : `it was ended by ${done.signal}`);
    throw new LametunError('linux', `${[program, ...args].join(' ')}: ${why}`);
  }
  return String(done.stdout);
}

const TRIES = 3;

/** A Ctrl-C came in the moment before the program had a session of its own: it has not begun. */
const wasInterrupted = ({ signal, error }: SpawnSyncReturns<string | Buffer>): boolean =>
  (signal === 'SIGINT' || signal === 'SIGTERM' || signal === 'SIGHUP') &&
  (error as NodeJS.ErrnoException | undefined)?.code !== 'ETIMEDOUT';
