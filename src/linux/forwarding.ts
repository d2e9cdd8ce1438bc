import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { LametunError } from '../errors.js';
import type { Cidr } from '../ip/cidr.js';
import { type Families, limitedTable, openTable, outsideDevices, tableName } from './forwarding-rules.js';
import { runProgram } from './program.js';
import {
  hasState,
  isAlive,
  type ProcessIdentity,
  readState,
  removeState,
  thisProcess,
  withStateLock,
  writeState,
} from './runtime-state.js';
import { type ChangedSetting, readSettings, readSysctl, undoSettings, writeSysctl } from './sysctl.js';

/*
 * What `--forward` does to the machine at the office, and a share to a network's node, in the network namespace of
 * the calling thread:
 *
 *  - the kernel forwards packets (a setting of the namespace, shared by everyone in it),
 *  - what comes out of the tunnel and goes on to the LAN gets the gateway's own address, so that the LAN needs no
 *    route back (nftables, a table of ours for each device),
 *  - TCP connections through the tunnel agree on segments that fit into it,
 *  - with a list of destinations, nothing else behind the machine is reached through it: forwarding-rules.ts.
 *
 * All is undone by the last one who needs it, and after a kill -9 by the next lametun. For that, the settings as they
 * were and the processes that need them are noted in a file under /run. A file there is seen from other namespaces,
 * too, and outlives its own; so it names a marker: an empty nft table, which cannot be anywhere else and dies with
 * the namespace. No marker, no truth in the file.
 *
 * The order makes a crash at any point harmless: file, then tables, then settings; and backwards.
 */

export { type Families, tableName } from './forwarding-rules.js';

/** The plain tunnel's: everything that comes out of the device is forwarded. */
export interface OpenForwarding {
  /** The tunnel's device. It need not exist yet. */
  readonly device: string;
  readonly families: Families;
  readonly destinations?: undefined;
}

/** A network's: nothing that comes out of the device is forwarded but to what is shared, be it nothing at all. */
export interface LimitedForwarding {
  readonly device: string;
  /** The networks that others may reach through this machine. Without any, no setting of the kernel is changed. */
  readonly destinations: readonly Cidr[];
}

export type ForwardingOptions = OpenForwarding | LimitedForwarding;

export interface Forwarding {
  /**
   * Forwards to these networks from now on, and to no others. Connections to networks that stay go on; those to
   * networks that were taken away end. Also to be called when the machine's default route has moved.
   *
   * @throws LametunError, LinuxError; with `destinations` of before still in force where nft refused
   */
  update(destinations: readonly Cidr[]): void;
  /**
   * Undoes it. A second call does nothing.
   *
   * @throws LametunError when something could not be undone; the next `sweepForwarding` tries again
   */
  stop(): void;
}

interface Owner extends ProcessIdentity {
  readonly id: string;
  readonly device: string;
}

/** The file of one namespace. */
interface State {
  /** The table that proves that the file is about this very namespace. */
  readonly marker: string;
  readonly owners: readonly Owner[];
  /** What was set, in this order. */
  readonly changed: readonly ChangedSetting[];
  /** Settings that the kernel changes along with those, as they were. */
  readonly around: Readonly<Record<string, string>>;
}

/**
 * Forwards between a tunnel's device and the others: `--forward`, `--share`. Needs Linux 5.7, root, and the program `nft`.
 * Rules of others stay as they are: a firewall that drops forwarded packets still does.
 *
 * @throws LametunError `missing` without nft or IPv6, LinuxError when a setting cannot be written; all is undone then
 */
export function startForwarding(options: ForwardingOptions): Forwarding {
  const { device } = options;
  checkDevice(device);
  const owner: Owner = { ...thisProcess(), id: randomBytes(8).toString('hex'), device };
  withStateLock(() => {
    const state = establish(owner, options);
    try {
      set(state);
    } catch (error) {
      leave(state, owner);
      throw error;
    }
  });
  let stopped = false;
  return {
    update(destinations) {
      if (stopped) return;
      // Should a setting be refused, the table stays: it is also what keeps members out.
      withStateLock(() => set(establish(owner, { device, destinations })));
    },
    stop() {
      if (stopped) return;
      withStateLock(() => {
        const state = readValidState();
        if (state !== undefined) leave(state, owner);
      });
      stopped = true;
    },
  };
}

/** Notes who forwards, and puts its table in place, of the one before in one step. Settings are not changed yet. */
function establish(owner: Owner, options: ForwardingOptions): State {
  // What the dead left is taken over, not undone first: connections that go through it would break.
  const found = readValidState();
  const dead = found?.owners.filter((other) => !isAlive(other)) ?? [];
  const living = found && { ...found, owners: found.owners.filter((other) => !dead.includes(other)) };
  const state = joined(living, owner, familiesOf(options));
  writeState(fileName(), state);
  try {
    nft([
      `add table inet ${state.marker}`,
      ...dead.flatMap((other) => removal(tableName(other.device))),
      ...removal(tableName(owner.device)), // of one whose device is gone, or our own from before
      table(options),
    ]);
    return state;
  } catch (error) {
    if (found === undefined) removeState(fileName());
    else writeState(fileName(), found);
    sweep();
    throw error;
  }
}

function set({ changed }: State): void {
  for (const { name, set: value } of changed) {
    const now = readSysctl(name); // undefined: of a device that was removed meanwhile
    if (now !== undefined && now !== value) writeSysctl(name, value);
  }
}

function familiesOf(options: ForwardingOptions): Families {
  if (options.destinations === undefined) return options.families;
  const lengths = options.destinations.map(({ address }) => address.length);
  return { ipv4: lengths.includes(4), ipv6: lengths.includes(16) };
}

function table(options: ForwardingOptions): string {
  if (options.destinations === undefined) return openTable(options.device, options.families);
  const { device, destinations } = options;
  return limitedTable(device, destinations, outsideDevices(device, destinations));
}

/**
 * Undoes what processes that are dead have left in the network namespace of the calling thread.
 *
 * @throws LametunError when something could not be undone
 */
export function sweepForwarding(): void {
  if (hasState(fileName())) withStateLock(sweep);
}

/** @returns what living processes have set up here */
function sweep(): State | undefined {
  const state = readValidState();
  const dead = state?.owners.filter((owner) => !isAlive(owner)) ?? [];
  return dead.reduce((left, owner) => left && leave(left, owner), state);
}

/** The state with one more owner, and with the settings that it needs. Nothing is changed yet. */
function joined(others: State | undefined, owner: Owner, families: Families): State {
  const base = others ?? { marker: `lametun__forward_${owner.id}`, owners: [], changed: [], around: {} };
  const known = new Set(base.changed.map(({ name }) => name));
  const wanted = [...(families.ipv4 ? ipv4Settings() : []), ...(families.ipv6 ? ipv6Settings() : [])];
  const added = wanted.filter(({ name, before, set }) => before !== set && !known.has(name));
  const around = added.flatMap(({ name }) => sideEffects(name));
  return {
    marker: base.marker,
    // A device has one owner. Another one's with that name is gone, or ours could not be there.
    owners: [...base.owners.filter(({ device }) => device !== owner.device), owner],
    changed: [...base.changed, ...added],
    around: { ...readSettings(around), ...base.around },
  };
}

/**
 * Takes an owner out, and undoes what nobody needs any more.
 *
 * @returns what is left, if anything
 */
function leave(state: State, owner: Owner): State | undefined {
  const owners = state.owners.filter(({ id }) => id !== owner.id);
  if (owners.length === state.owners.length) return state; // somebody took the device over
  const left = { ...state, owners };
  if (owners.length > 0) {
    nft(removal(tableName(owner.device)));
    writeState(fileName(), left);
    return left;
  }
  undoSettings(state.changed);
  for (const [name, before] of Object.entries(state.around)) {
    const now = readSysctl(name);
    if (now !== undefined && now !== before) writeSysctl(name, before);
  }
  nft([...removal(tableName(owner.device)), ...removal(state.marker)]);
  removeState(fileName());
  return undefined;
}

/** The state file of this namespace, unless it is about one that died and had the same number. */
function readValidState(): State | undefined {
  const state = readState(fileName());
  if (!isState(state)) return undefined;
  const tables = runProgram('nft', ['list', 'tables'], { purpose: 'forwarding' }).split('\n');
  if (tables.includes(`table inet ${state.marker}`)) return state;
  removeState(fileName());
  return undefined;
}

const isState = (value: unknown): value is State =>
  typeof value === 'object' && value !== null && 'marker' in value && 'owners' in value && 'changed' in value;

/** One file a network namespace, by the namespace's inode number. */
const fileName = (): string => `forward-${statSync('/proc/thread-self/ns/net').ino}.json`;

const IPV4_FORWARD = 'net/ipv4/ip_forward';
const IPV6_FORWARD = 'net/ipv6/conf/all/forwarding';

function ipv4Settings(): ChangedSetting[] {
  return [{ name: IPV4_FORWARD, before: readSysctl(IPV4_FORWARD) ?? '', set: '1' }];
}

/**
 * A host that forwards IPv6 is a router, and a router ignores the advertisements of others: it would lose its default
 * route. `accept_ra` 2 means: even so (ip-sysctl.rst). It must be there first, or the route is dropped at once.
 */
function ipv6Settings(): ChangedSetting[] {
  const before = readSysctl(IPV6_FORWARD);
  if (before === undefined) {
    throw new LametunError('missing', 'forwarding IPv6 needs a kernel with IPv6 switched on: ipv6.disable=0');
  }
  if (before === '1') return [];
  const advertised = devicesOf('ipv6')
    .map((device) => `net/ipv6/conf/${device}/accept_ra`)
    .filter((name) => readSysctl(name) === '1')
    .map((name) => ({ name, before: '1', set: '2' }));
  return [...advertised, { name: IPV6_FORWARD, before, set: '1' }];
}

/** What the kernel sets along: inet_forward_change() in devinet.c, addrconf_fixup_forwarding() in addrconf.c. */
function sideEffects(name: string): string[] {
  const family = name === IPV4_FORWARD ? 'ipv4' : name === IPV6_FORWARD ? 'ipv6' : undefined;
  if (family === undefined) return [];
  const forwarding = ['default', ...devicesOf(family)].map(
    (device) => `net/${family}/conf/${device}/forwarding`,
  );
  return family === 'ipv4' ? ['net/ipv4/conf/all/accept_redirects', ...forwarding] : forwarding;
}

const devicesOf = (family: 'ipv4' | 'ipv6'): string[] =>
  readdirSync(`/proc/sys/net/${family}/conf`).filter((name) => name !== 'all' && name !== 'default');

/** nft takes other characters in a name than the kernel does in a device's. A marker has two underscores: no clash. */
function checkDevice(device: string): void {
  if (/^[a-zA-Z0-9_=+.-]{1,15}$/.test(device)) return;
  throw new LametunError(
    'usage',
    `"${device}" cannot be a device's name: use letters, digits or any of _=+.-`,
  );
}

/** Removes a table if there is one. */
const removal = (table: string): string[] => [`add table inet ${table}`, `delete table inet ${table}`];

/** Carries out all commands or none. */
function nft(commands: readonly string[]): void {
  runProgram('nft', ['-f', '-'], { input: `${commands.join('\n')}\n`, purpose: 'forwarding' });
}
