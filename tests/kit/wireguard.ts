import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findLink } from '../../src/linux/net/link.js';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { runProgram } from '../../src/linux/process/program.js';
import { OFFLOADS_VARIABLE } from '../../src/tunnel/offloads.js';
import { until } from './wait.js';

export const LAMETUND = fileURLToPath(new URL('../../src/cli/lametund.js', import.meta.url));

export type Implementation = 'lametund' | 'wireguard-go' | 'LAMETUN_WIREGUARD_GO';

/** The environment variable with the path of another wireguard-go, usually a newer one that uses offloads. */
export const FURTHER: Implementation = 'LAMETUN_WIREGUARD_GO';
const further = process.env[FURTHER] || undefined;

/** The program of each implementation, and its arguments before the device's name. */
const COMMAND: Readonly<Record<Implementation, readonly string[]>> = {
  lametund: [process.execPath, LAMETUND],
  'wireguard-go': ['wireguard-go'],
  [FURTHER]: [further ?? FURTHER],
};

/** The implementations to test against: the system's wireguard-go, and another one where the variable names it. */
export const OTHERS: readonly Implementation[] = [
  'wireguard-go',
  ...(further === undefined ? [] : [FURTHER]),
];

/** lametund with each of the others, as initiator and as responder. */
export const ROLES: readonly (readonly [Implementation, Implementation])[] = OTHERS.flatMap(
  (other): [Implementation, Implementation][] => [
    ['lametund', other],
    [other, 'lametund'],
  ],
);

/** The name and version that an implementation prints: `wireguard-go v0.0.20220316`. */
export const versionOf = (implementation: Implementation): string =>
  runProgram(COMMAND[implementation][0]!, ['--version']).split('\n')[0]!;

export interface KeyPair {
  /** Base64, as `wg` prints it. Strings are good enough for test keys. */
  readonly privateKey: string;
  readonly publicKey: string;
}

export function newKey(): KeyPair {
  const privateKey = runProgram('wg', ['genkey']).trim();
  return { privateKey, publicKey: runProgram('wg', ['pubkey'], { input: privateKey }).trim() };
}

export const newPresharedKey = (): string => runProgram('wg', ['genpsk']).trim();

/** A peer in `wg show DEVICE dump`. */
export interface PeerDump {
  readonly endpoint: string;
  readonly allowedIps: string;
  /** Seconds since 1970; 0 for never. */
  readonly latestHandshake: number;
  readonly received: number;
  readonly sent: number;
}

/** Removes a key, in `WireGuard.set`. */
export const NO_KEY = '';

/** A WireGuard interface of any implementation, on a host or else in the machine's own network. */
export class WireGuard {
  readonly device: string;
  readonly implementation: Implementation;
  readonly host: Namespace | undefined;
  stdout = '';
  stderr = '';
  /** How the daemon ended. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  #end: number | NodeJS.Signals | undefined;

  private constructor(
    device: string,
    implementation: Implementation,
    host: Namespace | undefined,
    offloads: string | undefined,
  ) {
    this.device = device;
    this.implementation = implementation;
    this.host = host;
    const [command, ...args] = [...COMMAND[implementation], '--foreground', device];
    const options: SpawnOptions = {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        LOG_LEVEL: 'verbose',
        ...(offloads === undefined ? {} : { [OFFLOADS_VARIABLE]: offloads }),
      },
    };
    this.#child = host ? host.spawn(command!, args, options) : spawn(command!, args, options);
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('close', (code, signal) => {
        this.#end = code ?? signal!;
        resolve(this.#end);
      });
    });
  }

  /**
   * Starts a daemon, and waits until it answers `wg`. The end of the test stops it.
   *
   * @param offloads the value of LAMETUN_OFFLOADS
   */
  static async start(
    t: Pick<TestContext, 'after'>,
    device: string,
    implementation: Implementation = 'lametund',
    host?: Namespace,
    offloads?: string,
  ): Promise<WireGuard> {
    const wireguard = new WireGuard(device, implementation, host, offloads);
    t.after(() => wireguard.stop('SIGKILL'));
    await until(`${device} to answer`, () => {
      if (!wireguard.running)
        throw new Error(`${implementation} ended: ${wireguard.stdout}${wireguard.stderr}`);
      // Connect before running `wg`, which removes a socket that does not listen yet; wireguard-go would then end.
      return listens(socketPath(device)).then((yes) => yes && spawnSync('wg', ['show', device]).status === 0);
    });
    return wireguard;
  }

  /** Sets the device up, and waits until the daemon knows it. */
  async up(): Promise<void> {
    const before = this.stdout.length;
    this.ip(`link set ${this.device} up`);
    await this.isUp(before);
  }

  /**
   * Waits until the daemon knows that its device is up. Some versions of wireguard-go assume so from the start, and do
   * not log it again.
   *
   * @param from where to start searching the log of lametund
   */
  async isUp(from = 0): Promise<void> {
    const begin = this.implementation === 'lametund' ? from : 0;
    await until(`${this.device} to be up`, () => {
      if (!this.running) throw new Error(`${this.implementation} ended: ${this.stdout}${this.stderr}`);
      return this.stdout.includes('requested Up', begin);
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get running(): boolean {
    return this.#end === undefined;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals> {
    if (this.running) this.#child.kill(signal);
    return this.ended;
  }

  /** `wg set DEVICE ...`, with keys instead of files after `private-key` and `preshared-key`. */
  set(...args: readonly string[]): void {
    withFiles((write) => {
      const isKey = (i: number): boolean => /^(private|preshared)-key$/.test(args[i - 1] ?? '');
      runProgram('wg', ['set', this.device, ...args.map((arg, i) => (isKey(i) ? write(arg) : arg))]);
    });
  }

  /** `wg setconf`, `addconf`, `syncconf`. */
  configure(command: 'setconf' | 'addconf' | 'syncconf', config: string): void {
    withFiles((write) => runProgram('wg', [command, this.device, write(config)]));
  }

  show(...what: readonly string[]): string {
    return runProgram('wg', ['show', this.device, ...what]);
  }

  get port(): number {
    return Number(this.show('listen-port'));
  }

  /** The peers by public key. */
  get peers(): Map<string, PeerDump> {
    const [, ...lines] = this.show('dump').trimEnd().split('\n');
    return new Map(
      lines.map((line) => {
        const [publicKey, , endpoint, allowedIps, handshake, received, sent] = line.split('\t');
        return [
          publicKey!,
          {
            endpoint: endpoint!,
            allowedIps: allowedIps!,
            latestHandshake: Number(handshake),
            received: Number(received),
            sent: Number(sent),
          },
        ];
      }),
    );
  }

  /** Runs `ip` commands on the device's host. */
  ip(...commands: readonly string[]): void {
    if (this.host) this.host.ip(commands);
    else runProgram('ip', ['-batch', '-'], { input: `${commands.join('\n')}\n` });
  }

  get residentBytes(): number {
    const [, kibibytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8')) ?? [];
    return Number(kibibytes) * 1024;
  }

  get openFiles(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }
}

/** Gives `action` a function that writes temporary files, and removes them afterwards. */
function withFiles(action: (write: (text: string) => string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-'));
  let files = 0;
  try {
    action((text) => {
      const file = join(folder, `${files++}`);
      writeFileSync(file, text, { mode: 0o600 });
      return file;
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Whether a process listens on a Unix socket. Unlike `wg`, it does not remove a socket without a listener. */
export function listens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

export const socketPath = (device: string): string => `/var/run/wireguard/${device}.sock`;

/** Looks in the calling thread's network namespace, unlike /sys, which shows the one that mounted it. */
export const deviceExists = (device: string): boolean => findLink(device) !== undefined;
