import { randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { LametunError } from '../../errors.js';
import { libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';
import {
  hasState,
  isAlive,
  type ProcessIdentity,
  readState,
  removeState,
  thisProcess,
  withStateLock,
  writeState,
} from '../files/runtime-state.js';
import { NetlinkSocket } from '../net/netlink.js';
import { SOL_SOCKET } from '../net/socket-options.js';
import { readSysctl, writeSysctl } from '../process/sysctl.js';
import { sideEffects } from './forwarding.js';
import type { Thing } from './things.js';

/*
 * What processes have changed in a network namespace, and the values before: a file under /run for each namespace.
 * Things that end with a process need no undoing. For the rest, the next process cleans up after one that was killed.
 *
 * Kernel settings belong to everyone in the namespace: several processes may need one, and the last one restores it.
 * All other things have one owner.
 *
 * The order makes a crash at any point harmless: first the file, then the change; and the other way round to undo.
 */

/** A thing with its values before and after the change. */
export interface Noted {
  readonly thing: Thing;
  readonly value: string;
  /** Missing if the thing was not there. */
  readonly found?: string | undefined;
}

interface Owner extends ProcessIdentity {
  readonly id: string;
  readonly device: string;
  readonly noted: readonly Noted[];
}

interface SharedSetting {
  readonly name: string;
  readonly before: string;
  readonly set: string;
  /** Owners' ids. */
  readonly users: readonly string[];
  /** Settings that the kernel changes with it, with their previous values. */
  readonly around: Readonly<Record<string, string>>;
}

interface State {
  readonly namespace: string;
  readonly owners: readonly Owner[];
  /** In the order in which they were set. */
  readonly settings: readonly SharedSetting[];
}

/** What a dead process has left, and this one has taken over. */
export interface Inheritance {
  readonly noted: readonly Noted[];
  readonly settings: readonly string[];
}

/** The settings' values before the first process changed them, and whether this one uses them. */
export type KnownSettings = ReadonlyMap<string, { readonly before: string; readonly isUsed: boolean }>;

/** One owner's part of the journal, in the network namespace of the calling thread. */
export class Journal {
  readonly #id = randomBytes(8).toString('hex');
  readonly #device: string;
  readonly #file = fileName();

  /** @param device the owner's. Another owner with this device is gone, or this process could not have it */
  constructor(device: string) {
    this.#device = device;
  }

  /** Whether a process has left something here. */
  static exists = (): boolean => hasState(fileName());

  /** Begins, and returns what dead processes have left. */
  open(): Inheritance {
    return withStateLock(() => {
      const state = this.#read();
      const left = state.owners.filter((owner) => owner.device === this.#device || !isAlive(owner));
      const gone = new Set(left.map(({ id }) => id));
      const inherited = state.settings.filter(({ users }) => users.some((user) => gone.has(user)));
      const noted = left.flatMap((owner) => owner.noted);
      const owner = { ...thisProcess(), id: this.#id, device: this.#device, noted };
      this.#write({
        ...state,
        owners: [...state.owners.filter(({ id }) => !gone.has(id)), owner],
        settings: state.settings.map((setting) => ({
          ...setting,
          users: [...new Set(setting.users.map((user) => (gone.has(user) ? this.#id : user)))],
        })),
      });
      return { noted, settings: inherited.map(({ name }) => name) };
    });
  }

  /** Notes a thing before it is set. */
  note(noted: Noted): void {
    this.#changeNotes((before) => [...before.filter(({ thing }) => !isSame(thing, noted.thing)), noted]);
  }

  /** Forgets a thing that is restored. */
  forget(thing: Thing): void {
    this.#changeNotes((before) => before.filter((noted) => !isSame(noted.thing, thing)));
  }

  /** Settings that processes here have changed. */
  settings(): KnownSettings {
    if (!hasState(this.#file)) return new Map();
    return new Map(
      this.#read().settings.map(({ name, before, users }) => [
        name,
        { before, isUsed: users.includes(this.#id) },
      ]),
    );
  }

  /**
   * A setting's value before any process changed it. Read under the lock, so that no process starts or stops meanwhile.
   */
  before(name: string): string | undefined {
    return withStateLock(() => {
      const known = this.#read().settings.find((setting) => setting.name === name);
      return known?.before ?? readSysctl(name);
    });
  }

  /** Changes a setting, and notes its previous value. @throws LametunError */
  set(name: string, value: string, found: string | undefined): void {
    withStateLock(() => {
      const state = this.#read();
      const known = state.settings.find((setting) => setting.name === name);
      const now = readSysctl(name);
      if (now === undefined)
        throw new LametunError(
          'missing',
          `this kernel has no ${name}: IPv6 may be switched off (ipv6.disable=0)`,
        );
      const entry = known ?? {
        ...{ name, before: found ?? now, users: [] },
        around: readSettings(sideEffects(name)),
      };
      const users = [...new Set([...entry.users, this.#id])];
      this.#write(withSetting(state, { ...entry, set: value, users }));
      if (now !== value) writeSysctl(name, value);
    });
  }

  /**
   * Restores a setting, unless another process needs it.
   *
   * @returns whether it did
   * @throws LinuxError
   */
  release(name: string): boolean {
    return withStateLock(() => {
      const state = this.#read();
      const entry = state.settings.find((setting) => setting.name === name);
      if (entry === undefined) return true;
      const users = entry.users.filter((user) => user !== this.#id && isUsed(state, user));
      if (users.length > 0) {
        this.#write(withSetting(state, { ...entry, users }));
        return false;
      }
      // A setting that another program has changed since is left alone. A missing one went with its device.
      if (readSysctl(name) === entry.set) writeSysctl(name, entry.before);
      for (const [around, before] of Object.entries(entry.around)) {
        const now = readSysctl(around);
        if (now !== undefined && now !== before) writeSysctl(around, before);
      }
      this.#write({ ...state, settings: state.settings.filter((setting) => setting !== entry) });
      return true;
    });
  }

  /** Whether the device is still this owner's. */
  get isOwner(): boolean {
    return this.#read().owners.some(({ id }) => id === this.#id);
  }

  /** Ends. Restore everything else first; settings with other values now belong to other programs. */
  close(): void {
    withStateLock(() => {
      const state = this.#read();
      const settings = state.settings.map((setting) => ({
        ...setting,
        users: setting.users.filter((user) => user !== this.#id),
      }));
      this.#write({
        ...state,
        owners: state.owners.filter(({ id }) => id !== this.#id),
        settings: settings.filter(({ users }) => users.length > 0),
      });
    });
  }

  #changeNotes(change: (noted: readonly Noted[]) => readonly Noted[]): void {
    withStateLock(() => {
      const state = this.#read();
      const owners = state.owners.map((owner) =>
        owner.id === this.#id ? { ...owner, noted: change(owner.noted) } : owner,
      );
      this.#write({ ...state, owners });
    });
  }

  /** The notes about this namespace, but not about a dead one that had the same number. */
  #read(): State {
    const state = readState(this.#file);
    const namespace = namespaceIdentity();
    if (isState(state) && state.namespace === namespace) return state;
    return { namespace, owners: [], settings: [] };
  }

  #write(state: State): void {
    if (state.owners.length === 0 && state.settings.length === 0) removeState(this.#file);
    else writeState(this.#file, state);
  }
}

/** Puts a setting in the place of its old entry, or behind all others. */
function withSetting(state: State, entry: SharedSetting): State {
  const isKnown = state.settings.some(({ name }) => name === entry.name);
  const settings = state.settings.map((setting) => (setting.name === entry.name ? entry : setting));
  return { ...state, settings: isKnown ? settings : [...settings, entry] };
}

/** The values of those settings that exist. */
function readSettings(names: readonly string[]): Record<string, string> {
  const found = names.map((name) => [name, readSysctl(name)] as const);
  return Object.fromEntries(found.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

const isUsed = ({ owners }: State, user: string): boolean =>
  owners.some((owner) => owner.id === user && isAlive(owner));

const isSame = (a: Thing, b: Thing): boolean => JSON.stringify(a) === JSON.stringify(b);

const isState = (value: unknown): value is State =>
  typeof value === 'object' &&
  value !== null &&
  'namespace' in value &&
  'owners' in value &&
  'settings' in value;

/** One file for each network namespace, named after its inode number. */
const fileName = (): string => `host-${statSync('/proc/thread-self/ns/net').ino}.json`;

/** asm-generic/socket.h. */
const SO_NETNS_COOKIE = 71;

/**
 * An id that no other network namespace has, even one that gets this one's inode number later. Before Linux 5.14, which
 * has no cookies, it is the inode number.
 */
function namespaceIdentity(): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const { view, address } = allocate(16);
  view.setUint32(8, 8, true);
  const socket = new NetlinkSocket();
  try {
    const result = libc.getsockopt(socket.fd, SOL_SOCKET, SO_NETNS_COOKIE, address, address + 8);
    return result < 0 ? `${boot} ${fileName()}` : `${boot} ${view.getBigUint64(0, true)}`;
  } finally {
    socket.close();
  }
}
