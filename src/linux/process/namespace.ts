import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { existsSync, readlinkSync, writeFileSync } from 'node:fs';
import { LametunError } from '../../errors.js';
import { call, libc } from '../ffi/libc.js';
import { type RunOptions, runProgram, withSystemPrograms } from './program.js';

/** Flags of open(2) and setns(2), asm-generic/fcntl.h and linux/sched.h. */
const O_RDONLY_CLOEXEC = 0x80000;
const CLONE_NEWNET = 0x40000000;

/** Where `ip netns` keeps the names, ip-netns(8). */
const DIRECTORY = '/run/netns';

/**
 * A named network namespace, as `ip netns` makes them: a separate network stack with its own devices, addresses,
 * routes and firewall. The demo and tests build homes and offices from them.
 */
export class Namespace {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  /**
   * Makes a namespace with its loopback device up. Duplicate address detection, which takes a second, is off for
   * devices made in it later, so that IPv6 addresses are usable at once.
   *
   * @throws LametunError if the name is taken, or without the right
   */
  static create(name: string): Namespace {
    return Namespace.createAll([name])[0]!;
  }

  /** Makes several namespaces at the cost of one. If one cannot be made, the previous ones are removed. */
  static createAll(names: readonly string[]): Namespace[] {
    const made = names.map((name) => new Namespace(name));
    const before = new Set(names.filter((name) => existsSync(`${DIRECTORY}/${name}`)));
    try {
      ip(names.flatMap((name) => [`netns add ${name}`, `netns exec ${name} ip link set lo up`]));
    } catch (error) {
      for (const namespace of made) if (!before.has(namespace.name)) namespace.remove();
      throw error;
    }
    for (const namespace of made) namespace.sysctl({ 'net.ipv6.conf.default.accept_dad': 0 });
    return made;
  }

  /** Opens an existing namespace, made by `ip netns add NAME`. */
  static open(name: string): Namespace {
    if (!existsSync(`${DIRECTORY}/${name}`)) {
      throw new LametunError('usage', `there is no network namespace ${name}: \`ip netns\` lists all`);
    }
    return new Namespace(name);
  }

  /**
   * Removes the name. The namespace itself and its devices go when the last process in it has ended and the last
   * descriptor of it is closed. Does nothing if the name is gone.
   */
  remove(): void {
    if (existsSync(`${DIRECTORY}/${this.name}`)) runProgram('ip', ['netns', 'del', this.name]);
  }

  /**
   * Runs `fn` with the calling thread inside the namespace. Sockets, TUN devices and child processes that `fn` makes
   * stay in the namespace; the thread returns.
   *
   * @param fn synchronous, because after an `await` the thread would be outside again
   * @throws LinuxError if the namespace is gone, or without the right
   */
  inside<T>(fn: () => T): T {
    const path = `${DIRECTORY}/${this.name}`;
    const there = call(libc.open(path, O_RDONLY_CLOEXEC), `open ${path}`);
    try {
      return insideNamespace(there, this.name, fn);
    } finally {
      libc.close(there);
    }
  }

  /** Starts a program inside, as node:child_process does. The pid is the program's own. */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const env = withSystemPrograms(options.env);
    return spawn('ip', ['netns', 'exec', this.name, command, ...args], { ...options, env });
  }

  /**
   * Runs a program inside to its end, and returns its output.
   *
   * @throws LametunError with its stderr if it did not end with status 0
   */
  run(command: string, args: readonly string[] = [], options: RunOptions = {}): string {
    return runProgram('ip', ['netns', 'exec', this.name, command, ...args], options);
  }

  /** Runs `ip` commands inside, one per line, in one process: `this.ip(['link set lo up', 'route add ...'])`. */
  ip(commands: readonly string[]): void {
    ip(commands, this);
  }

  /**
   * Sets sysctls of the namespace.
   *
   * @param values by name, with slashes or dots: `{ 'net.ipv4.ip_forward': 1 }`. A name with a device that has a dot
   *   in its own name needs slashes
   */
  sysctl(values: Readonly<Record<string, string | number>>): void {
    this.inside(() => {
      for (const [name, value] of Object.entries(values)) {
        const path = name.includes('/') ? name : name.replaceAll('.', '/');
        writeFileSync(`/proc/sys/${path}`, `${value}`);
      }
    });
  }
}

/** The network namespace that the calling thread is in when this is made. It stays alive until `close`. */
export class NamespaceHandle {
  readonly #fd = call(libc.open(OWN, O_RDONLY_CLOEXEC), `open ${OWN}`);
  readonly #name = readlinkSync(OWN);

  /** Runs a synchronous `fn` with the calling thread inside it, where the thread mostly is already. */
  inside<T>(fn: () => T): T {
    return readlinkSync(OWN) === this.#name ? fn() : insideNamespace(this.#fd, this.#name, fn);
  }

  close(): void {
    libc.close(this.#fd);
  }
}

const OWN = '/proc/thread-self/ns/net';

function insideNamespace<T>(there: number, name: string, fn: () => T): T {
  const home = call(libc.open(OWN, O_RDONLY_CLOEXEC), `open ${OWN}`);
  try {
    call(libc.setns(there, CLONE_NEWNET), `setns ${name}`, NEEDS_ROOT);
    try {
      const result = fn();
      if (result instanceof Promise)
        throw new TypeError('only a synchronous function can run in a namespace');
      return result;
    } finally {
      call(libc.setns(home, CLONE_NEWNET), 'setns back', NEEDS_ROOT);
    }
  } finally {
    libc.close(home);
  }
}

/** One end of a virtual cable. */
export interface CableEnd {
  readonly namespace: Namespace;
  /** The name of the device, at most 15 bytes. */
  readonly device: string;
  /** `10.0.0.1/24`, `fd00::1/64`. */
  readonly addresses?: readonly string[];
  /**
   * Routes through this end; `::/0` or `0.0.0.0/0` for a default route. Without `via` the destination is on the cable.
   */
  readonly routes?: readonly { readonly to: string; readonly via?: string }[];
}

/**
 * Connects two namespaces by a virtual cable (a veth pair), both ends up.
 *
 * @param mtu bytes, of both ends
 */
export function connect(a: CableEnd, b: CableEnd, mtu = 1500): void {
  const make = (end: CableEnd): string =>
    `name ${end.device} index ${nextIndex++} mtu ${mtu} netns ${end.namespace.name}`;
  ip([`link add ${make(a)} type veth peer ${make(b)}`]);
  for (const part of ['addresses', 'routes'] as const) {
    for (const end of [a, b]) end.namespace.ip(part === 'addresses' ? addressing(end) : routing(end));
  }
}

/**
 * Indices of cable ends. The kernel would give index 2 to both ends, each being the first device of its namespace,
 * and then take up to a second to find the link up and let IPv6 work. It handles an end whose peer has another
 * index at once (linkwatch_urgent_event, net/core/link_watch.c). Counted from a number of this process, so that two
 * processes that build in the same namespace do not collide.
 */
let nextIndex = (process.pid % 100_000) * 10_000 + 1_000;

const addressing = ({ device, addresses = [] }: CableEnd): string[] => [
  ...addresses.map(
    (address) => `address add ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`,
  ),
  `link set dev ${device} up`,
];

const routing = ({ device, routes = [] }: CableEnd): string[] =>
  routes.map(({ to, via }) => `route add ${to}${via === undefined ? '' : ` via ${via}`} dev ${device}`);

const NEEDS_ROOT = { 1: 'needs root (try sudo) or the capability CAP_SYS_ADMIN' };

/** Runs `ip` commands in one process, because starting another one costs more than its work. */
function ip(commands: readonly string[], where?: Namespace): void {
  if (commands.length === 0) return;
  const args = where === undefined ? [] : ['-n', where.name];
  runProgram('ip', [...args, '-batch', '-'], { input: `${commands.join('\n')}\n` });
}
