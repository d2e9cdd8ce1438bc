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

/** A program that provides a WireGuard interface, with wireguard-go's command line: `program [-f] DEVICE`. */
export interface Implementation {
  /** Its name and version; lametund has no version here. */
  readonly name: string;
  readonly command: readonly string[];
}

/** The system's implementation, which every run measures. */
const SYSTEM = 'wireguard-go';

/** lametund, the system's wireguard-go, and the programs in BENCH_PEER, separated by commas. */
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
 * Reads a program's name from `--version`, which prints `wireguard-go v0.0.20220316` or `boringtun 0.7.1`.
 *
 * @throws LametunError if the program does not exist, Error if it prints something else
 */
function nameOf(program: string): string {
  if (program !== SYSTEM && !existsSync(program)) {
    throw new LametunError('usage', `BENCH_PEER: ${program} does not exist; name programs by their paths`);
  }
  const [, name, version] = /^([a-z-]+) v?(?:0\.0\.)?([\d.]+)/.exec(runProgram(program, ['--version'])) ?? [];
  if (name === undefined)
    throw new Error(`${program} --version prints no name and version; is it a WireGuard?`);
  return `${name.replace(/-cli$/, '')} ${version}`;
}

/**
 * Turns logging off. The variables with WG_ are for boringtun, which would otherwise drop its privileges and write a log
 * to /tmp.
 */
const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  LOG_LEVEL: 'error',
  WG_SUDO: 'true',
  WG_LOG_FILE: '/dev/null',
});

/** A WireGuard interface and its process. */
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

  /** Starts a daemon in the foreground, and waits until it answers `wg`. */
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

  /** Runs `wg setconf` or `wg addconf`. @returns how long it took, seconds */
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

/** Connects before running `wg`, which removes a socket that does not listen yet; its daemon would then end. */
const answers = async (device: string): Promise<boolean> =>
  (await listens(socketPath(device))) && spawnSync('wg', ['show', device]).status === 0;

/** Starts a daemon in the background. @returns the time until it answers `wg show`, seconds */
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
  host.ip([`link delete ${device}`]); // ends the daemon
  await until(`${name} to end`, async () => !(await answers(device)));
  return seconds;
}
