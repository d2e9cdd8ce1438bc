import { type SpawnSyncOptions, type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { LametunError } from '../../errors.js';

/** Debian packages of programs that have another name than their package. */
const PACKAGE: Readonly<Record<string, string>> = {
  'systemd-analyze': 'systemd',
  ip: 'iproute2',
  nft: 'nftables',
  ping: 'iputils-ping',
  unshare: 'util-linux',
};

/** How to install a missing program. */
export const howToGet = (program: string): string => `apt install ${PACKAGE[program] ?? program}`;

/** An environment in which `ip` and `nft` are found. In Debian, their folders are not in a user's PATH. */
export const withSystemPrograms = (env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv => ({
  ...env,
  PATH: `${env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`,
});

export interface RunOptions {
  /** The program's standard input. */
  readonly input?: string | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** After this many milliseconds it is killed, and the run has failed. */
  readonly timeout?: number | undefined;
  /** What needs the program, for the message if it is missing: `forwarding`. */
  readonly purpose?: string | undefined;
  /** Called with the program's process number when it has ended. */
  readonly onProcess?: ((pid: number) => void) | undefined;
}

/**
 * Runs a program to its end and returns its output. The calling thread waits. The program has its own session, so that
 * a Ctrl-C for this process does not end a program that cleans up.
 *
 * @throws LametunError `missing` if there is no such program, `linux` with its stderr if it did not end with status 0
 */
export function runProgram(program: string, args: readonly string[], options: RunOptions = {}): string {
  const env = withSystemPrograms(options.env);
  // Node accepts `detached` here too, though its types do not say so.
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

/** Ctrl-C came before the program had its own session, so it has not begun. */
const wasInterrupted = ({ signal, error }: SpawnSyncReturns<string | Buffer>): boolean =>
  (signal === 'SIGINT' || signal === 'SIGTERM' || signal === 'SIGHUP') &&
  (error as NodeJS.ErrnoException | undefined)?.code !== 'ETIMEDOUT';
