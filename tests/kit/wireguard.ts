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

/** Names the binary of one more wireguard-go, usually a newer one than the system's: one that knows offloads. */
export const FURTHER: Implementation = 'LAMETUN_WIREGUARD_GO';
const further = process.env[FURTHER] || undefined;

/** How a daemon is started: the program and what stands before the device's name. */
const COMMAND: Readonly<Record<Implementation, readonly string[]>> = {
  lametund: [process.execPath, LAMETUND],
  'wireguard-go': ['wireguard-go'],
  [FURTHER]: [further ?? FURTHER],
};

/** Who is not ours and is to understand ours: the system's wireguard-go, and a further one where it is named. */
export const OTHERS: readonly Implementation[] = [
  'wireguard-go',
  ...(further === undefined ? [] : [FURTHER]),
];

/** Ours with each of the others, either way round: who begins, and who answers. */
export const ROLES: readonly (readonly [Implementation, Implementation])[] = OTHERS.flatMap(
  (other): [Implementation, Implementation][] => [
    ['lametund', other],
    [other, 'lametund'],
  ],
);

/** What a program of somebody else's calls itself: `wireguard-go v0.0.20220316`. */
export const versionOf = (implementation: Implementation): string =>
  runProgram(COMMAND[implementation][0]!, ['--version']).split('\n')[0]!;

export interface KeyPair {
  /** Base64, as `wg` has them. Test keys, for once in strings. */
  readonly privateKey: string;
  readonly publicKey: string;
}

export function newKey(): KeyPair {
  const privateKey = runProgram('wg', ['genkey']).trim();
  return { privateKey, publicKey: runProgram('wg', ['pubkey'], { input: privateKey }).trim() };
}

export const newPresharedKey = (): string => runProgram('wg', ['genpsk']).trim();

/** What `wg show DEVICE dump` says of a peer. */
export interface PeerDump {
  readonly endpoint: string;
  readonly allowedIps: string;
  /** Seconds since 1970; 0 for never. */
  readonly latestHandshake: number;
  readonly received: number;
  readonly sent: number;
}

/** No key, for `WireGuard.set`. */
export const NO_KEY = '';

/** A WireGuard device of some program, on some host: the machine's own network without one. */
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
   * Starts a daemon, and waits until `wg` gets an answer. It ends with the test.
   *
   * @param offloads what it may use, as LAMETUN_OFFLOADS
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
    await until(`an answer of ${device}`, () => {
      if (!wireguard.running)
        throw new Error(`${implementation} ended: ${wireguard.stdout}${wireguard.stderr}`);
      // Not by `wg` before: it removes a socket that has not begun to listen, and wireguard-go then ends.
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
   * Waits until the daemon knows that its device is up. Some versions of wireguard-go believe so from the beginning, and
   * do not say it again.
   *
   * @param from where in what ours has said to begin
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

  /** `wg set DEVICE ...`; what stands behind `private-key` and `preshared-key` is the key itself. */
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

  /** By public key. */
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

  /** `ip` commands where the device is. */
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

/** Gives `action` a function that makes files, which are gone afterwards. */
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

/** Whether somebody listens on a socket. To ask `wg` first would remove a file that nobody listens on yet. */
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

/** In the network namespace of the calling thread; /sys shows those of the one that mounted it. */
export const deviceExists = (device: string): boolean => findLink(device) !== undefined;
