import { randomBytes } from 'node:crypto';
import { type FSWatcher, lstatSync, renameSync, rmSync, watch, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { LametunError } from '../../errors.js';
import { isAlive, thisProcess, withStateLock } from '../../linux/files/runtime-state.js';
import { probablyBy } from '../../linux/host/likely-programs.js';
import { type Item, Reconciler } from '../../linux/host/reconciler.js';
import { type Owner, ownerOf, parseResolvConf, renderResolvConf } from './resolv-conf.js';
import { giveBack, isReadOnly, keep, read, replace } from './resolv-files.js';
import { whyForeign } from './resolv-foreign.js';
import { ResolvGuard } from './resolv-guard.js';
import type { Siblings } from './siblings.js';

/*
 * Takes over /etc/resolv.conf, and restores it: when lametun stops; by a guard, when it is killed; at the next start, when
 * the machine lost power. A file that another program has written meanwhile (a DHCP client) becomes the file to restore,
 * and its name servers are asked from then on.
 *
 * The file itself names its owner and the path of the original. If several networks have nodes on a machine, one node
 * has the file and answers for the others. When it ends, another takes over.
 */

const PATH = '/etc/resolv.conf';
const BACKUP = 'before-lametun';
/** The states of the file for the reconciler. */
const OURS = 'as lametun wrote it';
const CHANGED = 'changed';

/** How often to check the file, and how soon after an announced change, milliseconds. */
const CHECK_INTERVAL = 1000;
const SETTLE = 100;
/** How long the lametun that has the file may take to notice this one, milliseconds. */
const NOTICE = 5000;

export interface TakeoverOptions {
  /** The node's IPv4 member address, where its resolver listens. */
  readonly address: string;
  /** `home.lametun`: becomes a search domain. */
  readonly domain: string;
  readonly device: string;
  readonly stateDirectory: string;
  readonly log: (message: string) => void;
  /** The nodes of other networks on this machine. */
  readonly siblings?: Siblings | undefined;
  /** Replaces /etc/resolv.conf in tests. */
  readonly resolvConf?: string;
}

export class ResolvConfTakeover {
  readonly #options: TakeoverOptions;
  readonly #path: string;
  readonly #token = randomBytes(8).toString('hex');
  /** A copy of what this process wrote, for the guard to compare. */
  readonly #copy: string;
  #backup: string;
  #written: string | undefined;
  /** The owner in what is written. */
  #owner: Owner | undefined;
  /** The interface of another lametun that has the file and answers for this one. */
  #through: string | undefined;
  /** Since when another lametun has the file and does not answer for this one. */
  #waiting: number | undefined;
  #upstreams: readonly string[] = [];
  readonly #guard: ResolvGuard;
  /** Decides when to take the file again, and when to yield to another program. */
  readonly #reconciler = new Reconciler();
  readonly #item: Item;
  #failure: unknown;
  #watches: FSWatcher[] = [];
  #unwatch = (): void => {};
  #timer: NodeJS.Timeout | undefined;
  #settle: NodeJS.Timeout | undefined;
  #said: string | undefined;
  #stopped = false;

  /**
   * Takes the file over now, or as soon as another lametun that has it ends.
   *
   * @throws LametunError when it cannot be taken over
   */
  constructor(options: TakeoverOptions) {
    this.#options = options;
    this.#path = options.resolvConf ?? PATH;
    this.#item = { id: this.#path, value: OURS, effect: `names in ${options.domain} are not found` };
    this.#backup = `${this.#path}.${this.#backupName}`;
    this.#copy = join(options.stateDirectory, 'resolv.conf.written');
    this.#guard = new ResolvGuard({
      ...{ path: this.#path, copy: this.#copy, backup: () => this.#backup },
      ...{ token: this.#token, log: options.log },
      isNeeded: () => this.#written !== undefined,
    });
    const foreign = this.#path === PATH ? whyForeign(PATH) : undefined;
    if (foreign !== undefined) throw new LametunError('refused', foreign);
    this.#check();
    if (this.#failure !== undefined) {
      this.#giveUp();
      throw notWritable(this.#path, this.#failure);
    }
    this.#watch();
  }

  get how(): 'resolv.conf' | 'none' {
    return this.why === undefined ? 'resolv.conf' : 'none';
  }

  /** Why names cannot be found now, or undefined. */
  get why(): string | undefined {
    return this.#reconciler.warnings()[0] ?? (this.#written === undefined ? this.#said : undefined);
  }

  /** The interface of another lametun that has the file and answers for this one. */
  get through(): string | undefined {
    return this.#through;
  }

  /** The present name servers of the original file. */
  upstreams(): readonly string[] {
    return this.#upstreams;
  }

  /** Restores the file. A second call does nothing. @throws when that fails */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#settle);
    for (const watcher of this.#watches) watcher.close();
    this.#unwatch();
    // If this fails, for instance because another lametun hangs, the guard restores the file when this process ends.
    withStateLock(() => {
      const owner = ownerOf(read(this.#path) ?? '');
      if (owner?.token === this.#token) giveBack(this.#path, owner);
      else rmSync(this.#backup, { force: true }); // the other file is newer
    });
    for (const copy of [this.#copy, this.#next]) rmSync(copy, { force: true });
    this.#guard.stop();
  }

  #giveUp(): void {
    try {
      this.stop();
    } catch {} // the caller reports why the takeover failed
  }

  #watch(): void {
    const soon = (): void => {
      clearTimeout(this.#settle);
      this.#settle = setTimeout(() => {
        this.#reconciler.handleEvent(performance.now());
        this.#check();
      }, SETTLE);
    };
    this.#unwatch = this.#options.siblings?.watch(soon) ?? this.#unwatch;
    try {
      const watcher = watch(dirname(this.#path), { persistent: false }, (_event, name) => {
        if (name === null || name === basename(this.#path)) soon();
      });
      watcher.on('error', () => {}); // the timer checks, too
      this.#watches.push(watcher);
    } catch {}
    this.#timer = setInterval(() => this.#check(), CHECK_INTERVAL);
    this.#timer.unref();
  }

  /** Takes the file if it is not this process's, and learns what others changed. */
  #check(): void {
    if (this.#stopped) return;
    const text = read(this.#path);
    const isOurs = text !== undefined && text === this.#written;
    const owner = ownerOf(text ?? '');
    const holder = this.#isOthers(owner) ? owner : undefined;
    // A file of another lametun is not a change by another program.
    this.#reconciler.want(holder === undefined ? [this.#item] : []);
    if (holder === undefined) this.#through = this.#waiting = undefined;
    else this.#wait(holder);
    const seen = new Map([[this.#path, isOurs ? OURS : CHANGED]]);
    this.#reconciler.handleObserved(seen, performance.now(), 0, probablyBy);
    for (;;) {
      const action = this.#reconciler.poll(performance.now());
      if (action === undefined) break;
      if (action.kind === 'tell') this.#options.log(action.message);
      if (action.kind === 'set') this.#set();
    }
    if (isOurs) this.#follow(text);
    else if (this.#reconciler.warnings().length > 0) {
      this.#written = undefined;
      this.#learn(text ?? '');
    }
  }

  #set(): void {
    let error: string | undefined;
    try {
      const holder = withStateLock(() => this.#takeOver());
      if (holder === undefined) this.#said = undefined;
      else error = `the lametun on ${holder.device} has taken it`; // the next check waits for that one
    } catch (failure) {
      this.#failure = failure;
      error = (failure as Error).message;
    }
    this.#reconciler.handleSet(performance.now(), error);
  }

  /** If the original is a link, its target keeps changing. */
  #follow(text: string): void {
    const before = read(this.#backup);
    if (before !== undefined) this.#learn(before);
    if (!this.#isKnown()) this.#tryRenew(text);
  }

  /** Waits for another lametun that has the file, until it answers for this one or ends. */
  #wait(holder: Owner): void {
    this.#written = undefined;
    rmSync(this.#backup, { force: true }); // if this one had the file before, the other's original is newer
    this.#learn(holder.missing ? '' : (read(holder.backup) ?? ''));
    if (holder.siblings?.includes(this.#options.address)) {
      this.#through = holder.device;
      this.#said = this.#waiting = undefined;
      return;
    }
    this.#through = undefined;
    const now = performance.now();
    this.#waiting ??= now;
    if (holder.siblings !== undefined && this.#options.siblings !== undefined && now < this.#waiting + NOTICE)
      return;
    this.#say(
      `the lametun on ${holder.device} has taken over ${this.#path}: names in ${this.#options.domain} can be found when it stops`,
    );
  }

  #say(message: string): void {
    if (this.#said === message) return;
    this.#said = message;
    this.#options.log(message);
  }

  /** Unique: another mount namespace may have another file in the same folder. */
  get #backupName(): string {
    return `${BACKUP}-${this.#token.slice(0, 8)}`;
  }

  get #next(): string {
    return `${this.#copy}.next`;
  }

  get #domains(): readonly string[] {
    return this.#options.siblings?.domains() ?? [this.#options.domain];
  }

  get #siblings(): readonly string[] {
    return this.#options.siblings?.others().map(({ address }) => address) ?? [];
  }

  /** Whether the file lists all present siblings. */
  #isKnown(): boolean {
    return this.#owner?.siblings?.join() === this.#siblings.join();
  }

  /** @returns the owner, if another running lametun has the file */
  #takeOver(): Owner | undefined {
    const holder = this.#makeRoom();
    if (holder !== undefined) return holder;
    // The file was deleted, not replaced: the original stays the file to restore.
    const isDeleted = lstatSync(this.#path, { throwIfNoEntry: false }) === undefined;
    if (isDeleted && this.#written !== undefined && this.#renew()) return undefined;
    const { address, device } = this.#options;
    const kept = keep(this.#path, this.#options.stateDirectory, this.#backupName);
    this.#backup = kept.backup;
    this.#learn(kept.text ?? '');
    this.#put(kept.text, {
      ...{ token: this.#token, process: thisProcess(), boot: bootId(), device, address },
      ...{ backup: kept.backup, missing: kept.missing, siblings: this.#siblings },
    });
    return undefined;
  }

  /** Writes the file again for other siblings. */
  #tryRenew(written: string): void {
    try {
      withStateLock(() => {
        if (read(this.#path) === written) this.#renew(); // otherwise the next check handles it
      });
    } catch (error) {
      this.#say((error as Error).message);
    }
  }

  /** Writes the file again. @returns false if the original is not known */
  #renew(): boolean {
    const before = read(this.#backup);
    if (this.#owner === undefined || (before === undefined && !this.#owner.missing)) return false;
    this.#put(before, { ...this.#owner, siblings: this.#siblings });
    return true;
  }

  /** Writes the copy for the guard first, so that the guard always recognises the file. */
  #put(before: string | undefined, owner: Owner): void {
    const text = renderResolvConf(parseResolvConf(before ?? ''), this.#domains, owner);
    writeFileSync(this.#next, text, { mode: 0o600 });
    this.#guard.watch();
    replace(this.#path, text);
    renameSync(this.#next, this.#copy);
    this.#written = text;
    this.#owner = owner;
  }

  /**
   * Restores a file that another lametun left, and removes this one's lines from a file that others changed.
   *
   * @returns the owner, if another running lametun has the file
   */
  #makeRoom(): Owner | undefined {
    const text = read(this.#path) ?? '';
    const owner = ownerOf(text);
    if (owner === undefined) return undefined;
    if (this.#isOthers(owner)) return owner;
    giveBack(this.#path, owner, this.#options.domain);
    return undefined;
  }

  /** Whether another running lametun has the file. */
  #isOthers(owner: Owner | undefined): owner is Owner {
    return owner !== undefined && owner.token !== this.#token && isOwnerAlive(owner);
  }

  #learn(text: string): void {
    const servers = parseResolvConf(text).nameservers.filter((server) => server !== this.#options.address);
    if (servers.length > 0 || this.#written === undefined) this.#upstreams = servers;
  }
}

function notWritable(path: string, error: unknown): unknown {
  if (!isReadOnly(error)) return error;
  return new LametunError('linux', `cannot write ${path}: ${(error as Error).message}`, {
    cause: error,
  });
}

const bootId = (): string => read('/proc/sys/kernel/random/boot_id')?.trim() ?? '';

const isOwnerAlive = ({ process, boot }: Owner): boolean => boot === bootId() && isAlive(process);
