import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LametunError } from '../../src/errors.js';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { runProgram } from '../../src/linux/process/program.js';
import { until } from '../kit/wait.js';
import { LAMETUND, listens, socketPath } from '../kit/wireguard.js';
import { cpuOf, memoryOf } from './process.js';

/** A program that provides a WireGuard device, with wireguard-go's command line: `program [-f] DEVICE`. */
export interface Implementation {
  /** What it calls itself, with its version; ours goes without one. */
  readonly name: string;
  readonly command: readonly string[];
}

/** The system's, which every run measures. */
const SYSTEM = 'wireguard-go';

/** Ours, the system's wireguard-go, and the programs that BENCH_PEER names, separated by commas. */
export function implementations(): Implementation[] {
  const others = (process.env['BENCH_PEER'] ?? '').split(',').filter(Boolean);
  const all = [{ name: 'lametund', command: [process.execPath, LAMETUND] }];
  for (const program of [SYSTEM, ...others]) {
    const name = nameOf(program);
    const taken = all.some((one) => one.name === name);
    all.push({ name: taken ? `${name} (${program})` : name, command: [program] });
  }
  return all;
}

/**
 * `wireguard-go v0.0.20220316` says what it is, whatever its file is called, and so does `boringtun 0.7.1`.
 *
 * @throws LametunError when there is no such program, or an Error when it does not say
 */
function nameOf(program: string): string {
  if (program !== SYSTEM && !existsSync(program)) {
    throw new LametunError('usage', `BENCH_PEER: there is no ${program}; name programs by their paths`);
  }
  const [, name, version] = /^([a-z-]+) v?(?:0\.0\.)?([\d.]+)/.exec(runProgram(program, ['--version'])) ?? [];
  if (name === undefined) throw new Error(`${program} --version does not say what it is: is it a WireGuard?`);
  return `${name.replace(/-cli$/, '')} ${version}`;
}

/**
 * Silent, and for boringtun the options that its command line has: it would give up its privileges, and write a log
 * to /tmp.
 */
const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  LOG_LEVEL: 'error',
  WG_SUDO: 'true',
  WG_LOG_FILE: '/dev/null',
});

/** A WireGuard device, and the process that provides it. */
export class Daemon {
  readonly device: string;
  readonly pid: number;
  readonly host: Namespace;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, host: Namespace, device: string) {
    this.#child = child;
    this.pid = child.pid!;
    this.host = host;
    this.device = device;
  }

  /** Starts one in the foreground, and waits until `wg` gets an answer. */
  static async start({ name, command }: Implementation, host: Namespace, device: string): Promise<Daemon> {
    const child = host.spawn(command[0]!, [...command.slice(1), '-f', device], {
      stdio: 'ignore',
      env: environment(),
    });
    const daemon = new Daemon(child, host, device);
    await until(`${name} to answer`, () => {
      if (child.exitCode !== null) throw new Error(`${name} ended with status ${child.exitCode}`);
      return answers(device);
    });
    return daemon;
  }

  /** `wg setconf`, `addconf`, `syncconf`. @returns how long it took, in seconds */
  configure(command: 'setconf' | 'addconf', config: string): number {
    const folder = mkdtempSync(join(tmpdir(), 'lametun-bench-'));
    try {
      const file = join(folder, 'config');
      writeFileSync(file, config, { mode: 0o600 });
      const start = performance.now();
      runProgram('wg', [command, this.device, file]);
      return (performance.now() - start) / 1000;
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  /** Gives the device an address, and brings it up. */
  up(address: string): void {
    this.host.ip([`address add ${address} dev ${this.device}`, `link set ${this.device} mtu 1420 up`]);
  }

  show(what: string): string {
    return runProgram('wg', ['show', this.device, what]);
  }

  get cpu(): number {
    return cpuOf([this.pid]);
  }

  get memory(): number {
    return memoryOf([this.pid]);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await ended;
  }
}

/** Not by `wg` alone: it removes a socket that has not begun to listen, and who made it ends. */
const answers = async (device: string): Promise<boolean> =>
  (await listens(socketPath(device))) && spawnSync('wg', ['show', device]).status === 0;

/** Seconds from the command line of a daemon, which goes to the background, to an answer to `wg show`. */
export async function startUpTime(
  { name, command }: Implementation,
  host: Namespace,
  device: string,
): Promise<number> {
  const start = performance.now();
  const child = host.spawn(command[0]!, [...command.slice(1), device], {
    stdio: 'ignore',
    env: environment(),
  });
  await once(child, 'exit');
  await until(`${name} to answer`, () => answers(device));
  const seconds = (performance.now() - start) / 1000;
  host.ip([`link delete ${device}`]); // which ends it
  await until(`${name} to end`, async () => !(await answers(device)));
  return seconds;
}
