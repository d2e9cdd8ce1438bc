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
 * Takes /etc/resolv.conf over, and gives it back: when lametun stops; when it is killed, by a guard; when the machine
 * lost its power, at the next start. It is only ever given back while it is as lametun wrote it. What somebody else
 * has written meanwhile (a DHCP client) is the new file to give back, and its name servers the new ones to ask.
 *
 * The file itself says whose it is and where the old one is. Of several networks' nodes on a machine one has it, and
 * answers for the others; when that one ends, another takes it over.
 */

const PATH = '/etc/resolv.conf';
const BACKUP = 'before-lametun';
/** What the file is to the reconciler. */
const OURS = 'as lametun wrote it';
const CHANGED = 'changed';

/** How often it is looked at, besides when something tells that it changed; milliseconds. */
const LOOK = 1000;
const SETTLE = 100;
/** How long the lametun that has the file may take to notice another one. */
const NOTICE = 5000;

export interface TakeoverOptions {
  /** The node's inner IPv4 address, where its resolver listens. */
  readonly address: string;
  /** `home.lametun`, to be searched. */
  readonly domain: string;
  readonly device: string;
  readonly stateDirectory: string;
  readonly log: (message: string) => void;
  /** The other networks' nodes. */
  readonly siblings?: Siblings | undefined;
  /** For tests. */
  readonly path?: string | undefined;
}

export class ResolvConfTakeover {
  readonly #options: TakeoverOptions;
  readonly #path: string;
  readonly #token = randomBytes(8).toString('hex');
  /** A copy of what we wrote, by which the guard knows whether the file is still ours. */
  readonly #copy: string;
  #backup: string;
  #written: string | undefined;
  /** As it is in what is written. */
  #owner: Owner | undefined;
  /** The device of the lametun that has the file and answers for this one. */
  #through: string | undefined;
  /** Since when another lametun has it that does not. */
  #waiting: number | undefined;
  #upstreams: readonly string[] = [];
  readonly #guard: ResolvGuard;
  /** Decides when to take the file again, and when to give in to another program. */
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
   * Takes the file over if it can be; if another lametun has it, as soon as that one ends.
   *
   * @throws LametunError when it cannot be taken over at all
   */
  constructor(options: TakeoverOptions) {
    this.#options = options;
    this.#path = options.path ?? PATH;
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
    this.#look();
    if (this.#failure !== undefined) {
      this.#giveUp();
      throw notWritable(this.#path, this.#failure);
    }
    this.#watch();
  }

  /** Why names are not found by it now, or undefined when they are. */
  get problem(): string | undefined {
    return this.#reconciler.warnings()[0] ?? (this.#written === undefined ? this.#said : undefined);
  }

  /** The device of the lametun that has the file, where that is another one, which answers for this one. */
  get through(): string | undefined {
    return this.#through;
  }

  /** The name servers that were there before, as they are now. */
  upstreams(): readonly string[] {
    return this.#upstreams;
  }

  /** Gives the file back. A second call does nothing. @throws when it cannot be given back now */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#settle);
    for (const watcher of this.#watches) watcher.close();
    this.#unwatch();
    // Where this fails, as when another lametun hangs, the guard does it when the process ends: it has the copies yet.
    withStateLock(() => {
      const owner = ownerOf(read(this.#path) ?? '');
      if (owner?.token === this.#token) giveBack(this.#path, owner);
      else rmSync(this.#backup, { force: true }); // theirs is newer
    });
    for (const copy of [this.#copy, this.#next]) rmSync(copy, { force: true });
    this.#guard.stop();
  }

  #giveUp(): void {
    try {
      this.stop();
    } catch {} // what is told is why it could not be taken over
  }

  #watch(): void {
    const soon = (): void => {
      clearTimeout(this.#settle);
      this.#settle = setTimeout(() => {
        this.#reconciler.handleEvent(performance.now());
        this.#look();
      }, SETTLE);
    };
    this.#unwatch = this.#options.siblings?.watch(soon) ?? this.#unwatch;
    try {
      const watcher = watch(dirname(this.#path), { persistent: false }, (_event, name) => {
        if (name === null || name === basename(this.#path)) soon();
      });
      watcher.on('error', () => {}); // the timer looks, too
      this.#watches.push(watcher);
    } catch {}
    this.#timer = setInterval(() => this.#look(), LOOK);
    this.#timer.unref();
  }

  /** Makes what is there ours, if it is not; and learns what others changed. */
  #look(): void {
    if (this.#stopped) return;
    const text = read(this.#path);
    const isOurs = text !== undefined && text === this.#written;
    const owner = ownerOf(text ?? '');
    const holder = this.#isOthers(owner) ? owner : undefined;
    // What another lametun has is no other program's doing.
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
      else error = `the lametun on ${holder.device} has taken it`; // the next look waits for that one
    } catch (failure) {
      this.#failure = failure;
      error = (failure as Error).message;
    }
    this.#reconciler.handleSet(performance.now(), error);
  }

  /** Where the old one is a link, somebody keeps writing to what it leads to. */
  #follow(text: string): void {
    const before = read(this.#backup);
    if (before !== undefined) this.#learn(before);
    if (!this.#isKnown()) this.#tryRenew(text);
  }

  /** Another lametun has the file: it answers for this one as soon as it knows of it. */
  #wait(holder: Owner): void {
    this.#written = undefined;
    rmSync(this.#backup, { force: true }); // if this one had the file before: that one's is newer
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
      `${this.#path} is in the hands of the lametun on ${holder.device}: names in ${this.#options.domain} are found as soon as that one stops`,
    );
  }

  #say(message: string): void {
    if (this.#said === message) return;
    this.#said = message;
    this.#options.log(message);
  }

  /** Its own: in another mount namespace the file may be another one, and its folder the same. */
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

  /** Whether the file says for whom this one answers. */
  #isKnown(): boolean {
    return this.#owner?.siblings?.join() === this.#siblings.join();
  }

  /** @returns who has the file, when that is another lametun that runs */
  #takeOver(): Owner | undefined {
    const holder = this.#makeRoom();
    if (holder !== undefined) return holder;
    // Whoever deletes the file wants no other one to be given back.
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

  /** There are other networks here than before. */
  #tryRenew(written: string): void {
    try {
      withStateLock(() => {
        if (read(this.#path) === written) this.#renew(); // else the next look is at that
      });
    } catch (error) {
      this.#say((error as Error).message);
    }
  }

  /** Writes it again, over what was there before. @returns whether that is known */
  #renew(): boolean {
    const before = read(this.#backup);
    if (this.#owner === undefined || (before === undefined && !this.#owner.missing)) return false;
    this.#put(before, { ...this.#owner, siblings: this.#siblings });
    return true;
  }

  /** The guard knows the file as ours at every moment. */
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
   * What another lametun left, or somebody made of ours, becomes a file without us.
   *
   * @returns whose it is, when that one runs
   */
  #makeRoom(): Owner | undefined {
    const text = read(this.#path) ?? '';
    const owner = ownerOf(text);
    if (owner === undefined) return undefined;
    if (this.#isOthers(owner)) return owner;
    giveBack(this.#path, owner, this.#options.domain);
    return undefined;
  }

  /** Whether another lametun that runs has the file. */
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
  return new LametunError('linux', `${path} cannot be written: ${(error as Error).message}`, {
    cause: error,
  });
}

const bootId = (): string => read('/proc/sys/kernel/random/boot_id')?.trim() ?? '';

const isOwnerAlive = ({ process, boot }: Owner): boolean => boot === bootId() && isAlive(process);
