import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { until } from '../kit/wait.js';
import { addMuslNode } from './musl.js';

export const SUITES = ['bookworm', 'trixie'] as const;

/** What a server's image has, and the packages that ours depend on or recommends: the tests have no network. */
const PACKAGES =
  'systemd,systemd-sysv,dbus,iproute2,iputils-ping,nftables,libstdc++6,ca-certificates,gpgv,wireguard-tools';

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The root file systems, with their packages. With npm, and with a Node.js for musl, they are for packages from npm. */
const ROOTS = {
  bookworm: { suite: 'bookworm', packages: PACKAGES },
  trixie: { suite: 'trixie', packages: PACKAGES },
  'bookworm-npm': { suite: 'bookworm', packages: PACKAGES, complete: addNpm },
  'trixie-npm': { suite: 'trixie', packages: PACKAGES, complete: addNpm },
  'trixie-musl': { suite: 'trixie', packages: `${PACKAGES},musl,iptables`, complete: addMuslNode },
} as const;
export type Root = keyof typeof ROOTS;
export const ALL_ROOTS = Object.keys(ROOTS) as Root[];

/** npm has virtual dependencies, which debootstrap cannot install. */
function addNpm(root: string): void {
  // Both are this machine's: Debian's configure no network.
  for (const file of ['/etc/resolv.conf', '/etc/hosts']) copyFileSync(file, join(root, file));
  const apt = [
    'chroot',
    root,
    'env',
    '-i',
    `PATH=${PATH}`,
    'DEBIAN_FRONTEND=noninteractive',
    'apt-get',
    '-qq',
  ];
  for (const words of [['update'], ['install', '-y', '--no-install-recommends', 'npm'], ['clean']])
    command(apt[0]!, ...apt.slice(1), ...words);
}

const rootOf = (name: Root): string => resolve(`out/roots/${name}`);

/** Makes a root file system, unless it is there from an earlier time. It needs the network. */
export function makeRoot(name: Root): void {
  const root = rootOf(name);
  if (existsSync(root)) return;
  const next = `${root}.next`;
  rmSync(next, { recursive: true, force: true });
  mkdirSync(next, { recursive: true });
  const made = ROOTS[name];
  execFileSync('debootstrap', ['--variant=minbase', `--include=${made.packages}`, made.suite, next]);
  if ('complete' in made) made.complete(next);
  renameSync(next, root);
}

/**
 * A machine with Debian, in namespaces. Its root file system is a fresh copy of one of `ROOTS`. systemd runs in it. All
 * machines of a test are on one network, 192.0.2.0/24.
 */
export class Debian {
  readonly #folder: string;
  #process: ChildProcess | undefined;
  #systemd = 0;

  readonly name: string;

  private constructor(name: string) {
    this.name = name;
    this.#folder = join(tmpdir(), name);
  }

  /** @param number the last byte of its address */
  static async boot(name: string, root: Root, number: number): Promise<Debian> {
    const machine = new Debian(name);
    for (const part of ['upper', 'work', 'root']) mkdirSync(join(machine.#folder, part), { recursive: true });
    const folder = machine.#folder;
    const layers = `lowerdir=${rootOf(root)},upperdir=${folder}/upper,workdir=${folder}/work`;
    command('mount', '-t', 'overlay', 'overlay', '-o', layers, `${folder}/root`);
    command('ip', 'netns', 'add', name);
    if (spawnSync('ip', ['link', 'show', 'lan'], { stdio: 'ignore' }).status !== 0)
      command('ip', 'link', 'add', 'lan', 'up', 'type', 'bridge');
    const device = `lan${number}`;
    command(
      'ip',
      'link',
      'add',
      device,
      'up',
      'master',
      'lan',
      'type',
      'veth',
      'peer',
      'eth0',
      'netns',
      name,
    );
    command('ip', '-n', name, 'address', 'add', `192.0.2.${number}/24`, 'dev', 'eth0');
    for (const link of ['lo', 'eth0']) command('ip', '-n', name, 'link', 'set', link, 'up');
    await machine.#start();
    return machine;
  }

  async #start(): Promise<void> {
    const options = [
      '--register=no',
      '--keep-unit',
      '--quiet',
      '--boot',
      '--console=pipe',
      '--resolv-conf=off',
    ];
    const own = [`--machine=${this.name}`, `--network-namespace-path=/run/netns/${this.name}`];
    const tun = ['--bind=/dev/net/tun', '--capability=CAP_NET_ADMIN'];
    const nspawn = spawn(
      'systemd-nspawn',
      [...options, ...own, ...tun, '--timezone=off', '-D', `${this.#folder}/root`],
      { stdio: 'ignore' },
    );
    this.#process = nspawn;
    const children = `/proc/${nspawn.pid}/task/${nspawn.pid}/children`;
    await until(`${this.name} to boot`, () => {
      if (nspawn.exitCode !== null) throw new Error(`systemd-nspawn ended with status ${nspawn.exitCode}`);
      this.#systemd = Number(readFileSync(children, 'utf8').trim().split(' ')[0]);
      if (!this.#systemd) return false;
      return /^(running|degraded)$/.test(this.try('systemctl', 'is-system-running').stdout.trim());
    });
  }

  /** Shuts down in order, and boots again. */
  async reboot(): Promise<void> {
    const ended = new Promise((resolve) => this.#process!.once('exit', resolve));
    this.try('systemctl', 'poweroff');
    await ended;
    await this.#start();
  }

  /** Ends the machine without a shutdown. */
  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#process!.once('exit', resolve));
    process.kill(this.#systemd, 'SIGKILL');
    await ended;
    command('ip', 'netns', 'del', this.name);
    command('umount', `${this.#folder}/root`);
    rmSync(this.#folder, { recursive: true });
  }

  /** @returns a command that runs a program in the machine */
  command(...words: readonly string[]): [string, ...string[]] {
    const enter = ['-t', String(this.#systemd), '-m', '-u', '-i', '-n', '-p', '-C', '-r', '-w'];
    const env = ['env', '-i', `PATH=${PATH}`, 'HOME=/root', 'LANG=C.UTF-8', 'DEBIAN_FRONTEND=noninteractive'];
    return ['nsenter', ...enter, ...env, ...words];
  }

  try(...words: readonly string[]): {
    readonly status: number | null;
    readonly stdout: string;
    readonly stderr: string;
  } {
    const [program, ...args] = this.command(...words);
    return spawnSync(program, args, { encoding: 'utf8', timeout: 300_000, maxBuffer: 1 << 26 });
  }

  /** @returns what the program printed. @throws Error if it failed */
  run(...words: readonly string[]): string {
    const { status, stdout, stderr } = this.try(...words);
    if (status !== 0) throw new Error(`${words.join(' ')} ended with status ${status}: ${stderr}\n${stdout}`);
    return stdout;
  }

  /** Runs a block of docs/INSTALL.md in a folder. The user is root, with a `sudo` that does nothing else. */
  runBlock(commands: string, folder = '/root'): string {
    const sudo = 'sudo() { "$@"; }\napt() { command apt-get -y "$@"; }\n';
    return this.run('sh', '-c', `set -e\ncd ${folder}\n${sudo}${commands}`);
  }

  /** Puts files or folders into /root, or into another folder. */
  copy(source: string, folder = '/root'): void {
    command('cp', '-r', source, `${this.#folder}/root${folder}`);
  }

  /** Runs a program while something happens, and returns what it printed. */
  async during(words: readonly string[], happens: () => Promise<void> | void): Promise<string> {
    const [program, ...args] = this.command(...words);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    let printed = '';
    child.stdout.on('data', (data: Buffer) => {
      printed += data;
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await until(`${words[0]} to print`, () => printed.includes('\n'));
    await happens();
    child.kill('SIGINT');
    await ended;
    return printed;
  }

  /** All files that an installed package could have left, with the lists of the package manager left out. */
  files(): readonly string[] {
    const found = this.run(
      'find',
      '/',
      '-xdev',
      ...CHANGING.flatMap((path) => ['-path', path, '-prune', '-o']),
      '-print',
    );
    return found
      .split('\n')
      .filter((file) => file !== '')
      .sort();
  }
}

/** What every machine changes while it runs, and dpkg and apt when they install anything. */
const CHANGING = [
  ...['/proc', '/sys', '/dev', '/run', '/tmp', '/var/tmp', '/root', '/var/log', '/var/cache'],
  ...[
    '/var/lib/dpkg',
    '/var/lib/apt',
    '/var/lib/systemd',
    '/var/lib/private',
    '/etc/.pwd.lock',
    '/etc/resolv.conf',
  ],
];

function command(program: string, ...args: readonly string[]): void {
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** The newest `.deb` of a version in `out/`. */
export function debOf(version: string): string {
  const file = readdirSync('out').find((name) => name === `lametun_${version}_amd64.deb`);
  if (file === undefined)
    throw new Error(`out/ has no package of version ${version}: npm run test:install makes it`);
  return resolve('out', file);
}
