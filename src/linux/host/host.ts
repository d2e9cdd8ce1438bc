import { LametunError } from '../../errors.js';
import { LinuxError } from '../ffi/errno.js';
import { checkDeviceName, type DeviceName, findLink } from '../net/link.js';
import type { NetlinkSocket } from '../net/netlink.js';
import { NamespaceHandle } from '../process/namespace.js';
import { readSysctl } from '../process/sysctl.js';
import { type Announcements, watchAnnouncements } from './announcements.js';
import { type DesiredHost, wishesOf } from './desired.js';
import type { ForwardingFacts } from './forwarding.js';
import { type Inheritance, Journal, type KnownSettings } from './journal.js';
import { probablyBy } from './likely-programs.js';
import { openNftables, type RuleChange } from './nftables.js';
import { OutsideDevices } from './outside.js';
import { type Action, type Item, Reconciler } from './reconciler.js';
import { idOf, type Thing, Things, type Wish } from './things.js';

export interface HostOptions {
  /** The tunnel's device. For forwarding it need not exist yet. */
  readonly device: string;
  /** Returns the desired state. Called before every check. */
  readonly desired: () => DesiredHost;
  /** Whether the device stays when the process ends. Then its settings are noted for the next process to undo. */
  readonly staysBehind?: boolean;
  /** Called with what was repaired, and what another program keeps changing. */
  readonly tell?: (message: string) => void;
}

/**
 * Keeps this machine as a tunnel needs it: sets what is desired, repairs and reports what other programs change, and
 * restores what it found. Takes over or restores the settings that a killed process left behind.
 *
 * Belongs to the network namespace of the calling thread.
 */
export class Host {
  readonly #options: HostOptions;
  readonly #reconciler = new Reconciler();
  readonly #namespace = new NamespaceHandle();
  readonly #nftables: NetlinkSocket | undefined = nftablesIfAny();
  readonly #things = new Things(this.#nftables);
  readonly #outside = new OutsideDevices();
  readonly #journal: Journal;
  #device: DeviceName;
  #desired: DesiredHost = {};
  /** All things that are wanted or not yet restored, by id. */
  readonly #wishes = new Map<string, Wish>();
  /** The first observed values of settings. */
  readonly #settings = new Map<string, string>();
  readonly #failures = new Map<string, LametunError>();
  #inherited: Inheritance = NOTHING;
  #announcements: Announcements | undefined;
  #timer: NodeJS.Timeout | undefined;
  #rules: { readonly change: RuleChange; readonly at: number } | undefined;
  /** Whether a journal is kept. Where everything goes with the process, nothing needs to be noted. */
  #isNoting = false;
  #isStopped = false;
  /** Why the latest check failed. */
  #blindness: string | undefined;

  /** Nothing is changed yet. @throws LinuxError */
  constructor(options: HostOptions) {
    this.#options = options;
    this.#device = { index: 0, name: options.device };
    this.#journal = new Journal(options.device);
  }

  /**
   * Makes this machine as desired, and keeps it so. What cannot be set is tried again, and reported by `failure` and
   * `warnings`.
   *
   * @throws LametunError `usage` if the device has a name that nft does not allow; LinuxError if nothing can be noted
   *   or read
   */
  reconcile(): void {
    if (this.#isStopped) return;
    this.#namespace.inside(() => {
      this.#desired = this.#options.desired();
      if (this.#desired.forwarding !== undefined) checkDeviceName(this.#device.name);
      if (this.#device.index === 0) this.#findDevice();
      this.#openJournal();
      this.#announcements ??= this.#watch();
      this.#check();
      this.#drive();
      this.#giveBackInherited();
    });
    this.#arm();
  }

  /** Why something could not be set; undefined if everything is as desired, or changed by another program. */
  get failure(): LametunError | undefined {
    return [...this.#failures].find(([id]) => this.#reconciler.isFailing(id))?.[1];
  }

  warnings(): string[] {
    return this.#reconciler.warnings();
  }

  /**
   * Restores what was found. A second call does nothing.
   *
   * @throws LametunError if something could not be restored; the next process to start tries again
   */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#announcements?.close();
    try {
      this.#namespace.inside(() => this.#giveBack());
    } finally {
      this.#nftables?.close();
      this.#namespace.close();
    }
  }

  #giveBack(): void {
    if (this.#isNoting && !this.#journal.isOwner) return; // another process has the device
    this.#failures.clear();
    this.#desired = {};
    this.#check();
    this.#drive();
    const [failure] = this.#failures.values();
    if (failure !== undefined) throw failure;
    if (this.#isNoting) this.#journal.close();
  }

  /** From then on the device is known by its number, whatever its name. */
  #findDevice(): void {
    const { name } = this.#device;
    this.#device = { index: findLink(name)?.index ?? 0, name };
  }

  #openJournal(): void {
    const isNeeded = this.#desired.forwarding !== undefined;
    if (this.#isNoting || !(isNeeded || this.#options.staysBehind || Journal.exists())) return;
    try {
      this.#inherited = this.#journal.open();
      this.#isNoting = true;
    } catch (error) {
      if (isNeeded || !(error instanceof LametunError)) throw error; // the device's own things need no root
    }
  }

  #watch(): Announcements {
    return watchAnnouncements((rules) => {
      if (rules !== undefined) this.#rules = { change: rules, at: performance.now() };
      this.#reconciler.handleEvent(performance.now());
      this.#arm();
    });
  }

  #arm(): void {
    if (this.#isStopped) return;
    clearTimeout(this.#timer);
    const rest = this.#reconciler.nextTimeout() - performance.now();
    this.#timer = setTimeout(() => this.#run(), Math.max(0, rest));
    this.#timer.unref();
  }

  #run(): void {
    if (this.#isStopped) return;
    this.#namespace.inside(() => this.#drive());
    this.#arm();
  }

  #drive(): void {
    for (;;) {
      const action = this.#reconciler.poll(performance.now());
      if (action === undefined) return;
      this.#do(action);
    }
  }

  #do(action: Action): void {
    switch (action.kind) {
      case 'check':
        this.#tryToCheck();
        break;
      case 'tell':
        this.#options.tell?.(action.message);
        break;
      default: {
        const failure = this.#try(action);
        if (failure === undefined) this.#failures.delete(action.id);
        else this.#failures.set(action.id, failure);
        this.#reconciler.handleSet(performance.now(), failure?.message);
      }
    }
  }

  #try(action: Exclude<Action, { kind: 'check' | 'tell' }>): LametunError | undefined {
    const wish = this.#wishes.get(action.id)!;
    try {
      if (action.kind === 'restore') this.#restore(wish.thing, action.value);
      else this.#set(wish, action.value, action.found, action.isRepair);
      return undefined;
    } catch (error) {
      return refusal(error);
    }
  }

  #set(
    { thing, value: wanted, failsClosed }: Wish,
    value: string,
    found: string | undefined,
    isRepair: boolean,
  ): void {
    if (thing.kind === 'setting' && this.#isNoting) {
      // The device's own setting is closed even if another program opened it; others only if this tunnel set them.
      const isClosed = typeof failsClosed === 'object';
      if (value === wanted || value !== found || isClosed) this.#journal.set(thing.name, value, found);
      else if (!this.#journal.release(thing.name)) throw new LametunError('busy', 'another lametun needs it');
      return;
    }
    if (this.#isNoted(thing)) this.#journal.note({ thing, value, found });
    this.#things.set(thing, value, isRepair);
  }

  #restore(thing: Thing, value: string | undefined): void {
    if (thing.kind === 'setting' && this.#isNoting) this.#journal.release(thing.name);
    else {
      this.#things.set(thing, value);
      if (this.#isNoted(thing)) this.#journal.forget(thing);
    }
  }

  #isNoted(thing: Thing): boolean {
    return this.#isNoting && (thing.kind === 'table' || this.#options.staysBehind === true);
  }

  /** What cannot be checked is left as it is until the next check. */
  #tryToCheck(): void {
    try {
      this.#check();
      this.#blindness = undefined;
    } catch (error) {
      const { message } = refusal(error);
      if (message !== this.#blindness)
        this.#options.tell?.(`Could not check the network settings of this machine: ${message}`);
      this.#blindness = message;
      this.#reconciler.handleObserved(new Map(), performance.now());
    }
  }

  #check(): void {
    const began = performance.now();
    if (!this.#isStopped) this.#desired = this.#options.desired();
    const known: KnownSettings = this.#isNoting ? this.#journal.settings() : new Map();
    const settingFound = (name: string): string | undefined =>
      known.get(name)?.before ?? this.#firstSeen(name);
    const isSet = (name: string): boolean => known.get(name)?.isUsed === true;
    const facts = this.#facts(settingFound, isSet);
    const wishes = wishesOf(this.#desired, this.#device, facts);
    this.#reconciler.want(wishes.map((wish) => this.#item(wish, facts)));
    for (const wish of wishes) this.#wishes.set(idOf(wish.thing), wish);
    const ids = new Set(this.#reconciler.ids());
    for (const map of [this.#wishes, this.#failures])
      for (const id of map.keys()) if (!ids.has(id)) map.delete(id);
    const values = this.#things.observe([...this.#wishes.values()].map(({ thing }) => thing));
    for (const { thing, value } of wishes) {
      // Another lametun has set it: it stays until both have stopped.
      if (thing.kind !== 'setting' || known.get(thing.name)?.isUsed !== false) continue;
      if (values.get(idOf(thing)) === value) this.#journal.set(thing.name, value, undefined);
    }
    const now = performance.now();
    this.#reconciler.handleObserved(values, now, now - began, (id) => this.#blame(id));
  }

  #firstSeen(name: string): string | undefined {
    const read = (): string | undefined => (this.#isNoting ? this.#journal.before(name) : readSysctl(name));
    const seen = this.#settings.get(name) ?? read();
    if (seen !== undefined) this.#settings.set(name, seen);
    return seen;
  }

  #facts(settingFound: ForwardingFacts['settingFound'], isSet: ForwardingFacts['isSet']): ForwardingFacts {
    const { index, name } = this.#device;
    const device = (index === 0 ? undefined : findLink(index)?.name) ?? name;
    const destinations = this.#desired.forwarding?.destinations;
    const outside = destinations === undefined ? [] : this.#outside.names(device, destinations);
    return { device, outside, settingFound, isSet };
  }

  #item({ thing, value, needs, failsClosed, effect }: Wish, { settingFound, isSet }: ForwardingFacts): Item {
    const id = idOf(thing);
    const inherited = this.#inherited.noted.find((noted) => idOf(noted.thing) === id);
    const found =
      thing.kind === 'setting'
        ? { value: settingFound(thing.name) }
        : inherited && { value: inherited.found };
    // A setting that another program has switched on stays on.
    const isOurs = thing.kind === 'setting' && isSet(thing.name);
    const off =
      typeof failsClosed === 'object' ? failsClosed.off : failsClosed && isOurs ? found?.value : undefined;
    const otherwise = off === value ? undefined : off;
    return { id, value, needs, found, otherwise, effect };
  }

  /** What dead processes have left, and this tunnel does not want. */
  #giveBackInherited(): void {
    const { noted, settings } = this.#inherited;
    this.#inherited = NOTHING;
    for (const name of settings) {
      if (!this.#wishes.has(idOf({ kind: 'setting', name })))
        this.#attempt(() => this.#journal.release(name));
    }
    for (const { thing, value, found } of noted.toReversed()) {
      if (this.#wishes.has(idOf(thing))) continue;
      this.#attempt(() => {
        const now = this.#things.observe([thing]).get(idOf(thing));
        if (now === value || (thing.kind === 'table' && now !== undefined)) this.#things.set(thing, found);
        this.#journal.forget(thing);
      });
    }
  }

  #attempt(undo: () => void): void {
    try {
      undo();
    } catch (error) {
      const { message } = refusal(error);
      this.#options.tell?.(`Could not restore what a killed lametun had changed: ${message}`);
    }
  }

  /** The programs that may have changed something. */
  #blame(id: string): string | undefined {
    const isTable = this.#wishes.get(id)?.thing.kind === 'table';
    const { change, at } = this.#rules ?? { at: -Infinity };
    const known = isTable && change !== undefined && performance.now() < at + RECENT ? change : undefined;
    if (known !== undefined && !isTool(known.program)) return known.program;
    const probably = probablyBy();
    if (known === undefined) return probably;
    const process = `${known.program}, process ${known.pid}`;
    return probably === undefined ? process : `${process}; ${probably}`;
  }
}

/** Errors of the kernel or of a full disk are not defects of this program. */
function refusal(error: unknown): LametunError {
  if (error instanceof LametunError) return error;
  const { errno, message } = error as NodeJS.ErrnoException;
  if (errno === undefined) throw error;
  return new LametunError('linux', message, { cause: error });
}

const NOTHING: Inheritance = { noted: [], settings: [] };

/** For this long, a program that changed the rules is blamed for what is found, milliseconds. */
const RECENT = 10_000;

/** Programs that others run to change rules. */
const isTool = (program: string): boolean => /^(nft|x?tables|ip6?tables|ebtables|arptables)/.test(program);

function nftablesIfAny(): NetlinkSocket | undefined {
  try {
    return openNftables();
  } catch (error) {
    if (error instanceof LinuxError) return undefined;
    throw error;
  }
}
