/*
 * Decides how to keep a machine in a desired state while other programs change it.
 *
 * The state is a list of items, each with one value as text; `undefined` means that an item does not exist. No I/O: the
 * caller observes and sets values, and passes the time, in milliseconds of a monotonic clock.
 *
 *   want(items)                       the desired items from now on; [] restores everything
 *   handleEvent(now)                  something has changed
 *   poll(now)                         what to do now: check, set, restore or tell; undefined for nothing
 *   handleObserved(values, now, ...)  the answer to `check`
 *   handleSet(now, error)             the answer to `set` and `restore`, before the next poll
 *   nextTimeout()                     when to poll again at the latest
 *
 * Only values count, never who announced a change, so its own changes are not interference.
 */

export interface Item {
  /** Unique; its name in messages: `the route 192.168.1.0/24`. */
  readonly id: string;
  readonly value: string;
  /** Earlier items that must be right before this one is set, and while it is set. */
  readonly needs?: readonly string[] | undefined;
  /**
   * The value while the items that it needs cannot be kept, to fail closed. Without it, the item is left alone then.
   */
  readonly otherwise?: string | undefined;
  /** The value to restore at the end, from an earlier process. Unless given, it is what the first check finds. */
  readonly found?: { readonly value: string | undefined } | undefined;
  /** What does not work without it, for warnings: `others cannot reach the networks that this node shares`. */
  readonly effect?: string | undefined;
}

export type Action =
  | { readonly kind: 'check' }
  | {
      readonly kind: 'set';
      readonly id: string;
      readonly value: string;
      /** The value to restore at the end. Note it before anything is set. */
      readonly found: string | undefined;
      /** Whether another program has changed it. */
      readonly isRepair: boolean;
    }
  | { readonly kind: 'restore'; readonly id: string; readonly value: string | undefined }
  | { readonly kind: 'tell'; readonly message: string };

/** How often to check without an announcement. */
export const CHECK_INTERVAL = 30_000;
/** How long to wait for more changes, which come in groups. */
export const SETTLE = 50;
/**
 * Checks take at most a tenth of the time, however much is announced, unless that breaks the promise of two seconds.
 */
const CHECK_SHARE = 10;
const LONGEST_PAUSE = 1_000;
/** After this many repairs of an item within a minute, another program is fighting for it. */
export const ROUNDS = 3;
export const MINUTE = 60_000;
/** The longest truce before an item is tried again; the first is a minute. */
const LONGEST_TRUCE = 16 * MINUTE;
/** After this long without a fight, the next truce is short again. */
const PEACE = 10 * MINUTE;
/** The first pause after a failure. */
const FIRST_RETRY = 1_000;

class Track {
  item: Item;
  /** The value in the latest check; meaningless before the first. */
  observed: string | undefined;
  wasObserved = false;
  found: { readonly value: string | undefined } | undefined;
  /** The last right value. A different one comes from another program. */
  settled: { readonly value: string } | undefined;
  /** Whether the item has the wanted value. */
  isRight = false;
  isLeaving = false;
  /** When it was repaired. */
  rounds: number[] = [];
  contested: { readonly until: number; readonly by: string | undefined } | undefined;
  truce = MINUTE;
  /** When the latest truce was over. */
  resumedAt = -Infinity;
  error: string | undefined;
  retryAt = 0;
  retry = FIRST_RETRY;
  triedAt = -Infinity;

  constructor(item: Item) {
    this.item = item;
    this.found = item.found;
  }

  /** No action before this time. */
  putOff(until: number): void {
    this.retryAt = Math.max(this.retryAt, until);
    if (this.contested !== undefined && this.contested.until < until)
      this.contested = { ...this.contested, until };
  }
}

export class Reconciler {
  readonly #tracks = new Map<string, Track>();
  /** Actions that remain from the latest check. */
  readonly #walk: Track[] = [];
  readonly #tells: string[] = [];
  #setting:
    | { readonly track: Track; readonly value: string | undefined; readonly isRepair: boolean }
    | undefined;
  #repaired: { readonly id: string; readonly by: string | undefined }[] = [];
  #blame: (id: string) => string | undefined = () => undefined;
  #checkAt = 0;
  /** The earliest time for the next check, whatever happens. */
  #restUntil = 0;

  /** Takes effect with the next check, which is due at once. */
  want(items: readonly Item[]): void {
    const left = new Map(this.#tracks);
    this.#tracks.clear();
    const wanted = items.map((item) => {
      const track = left.get(item.id) ?? new Track(item);
      left.delete(item.id);
      track.item = item;
      track.isLeaving = false;
      return track;
    });
    // Items that are no longer wanted come first, in reverse order.
    for (const track of [...left.values()].reverse()) {
      track.isLeaving = true;
      this.#tracks.set(track.item.id, track);
    }
    for (const track of wanted) this.#tracks.set(track.item.id, track);
    this.#checkAt = 0;
  }

  handleEvent(now: number): void {
    for (const track of this.#tracks.values()) {
      if (track.error === undefined || now < track.triedAt + FIRST_RETRY) continue;
      track.retryAt = now; // it may be possible now
    }
    this.#checkAt = Math.min(this.#checkAt, Math.max(now + SETTLE, this.#restUntil));
  }

  /**
   * @param values by id; an item that is missing could not be read, and is left as it is
   * @param took how long the check took
   * @param blame the program that may have changed an item, in a few words
   */
  handleObserved(
    values: ReadonlyMap<string, string | undefined>,
    now: number,
    took = 0,
    blame: (id: string) => string | undefined = () => undefined,
  ): void {
    this.#blame = blame;
    this.#checkAt = now + CHECK_INTERVAL;
    this.#restUntil = now + Math.min(LONGEST_PAUSE, took * CHECK_SHARE);
    this.#walk.length = 0;
    for (const [id, track] of this.#tracks) {
      if (!values.has(id)) {
        track.putOff(now + FIRST_RETRY);
        continue;
      }
      track.observed = values.get(id);
      track.wasObserved = true;
      track.found ??= { value: track.observed };
      this.#walk.push(track);
    }
  }

  poll(now: number): Action | undefined {
    for (;;) {
      const message = this.#tells.shift();
      if (message !== undefined) return { kind: 'tell', message };
      const track = this.#walk.shift();
      if (track !== undefined) {
        const action = track.isLeaving ? this.#restore(track) : this.#step(track, now);
        if (action !== undefined) return action;
        continue;
      }
      if (this.#tellRepairs()) continue;
      if (now < this.nextTimeout()) return undefined;
      this.#checkAt = Infinity;
      return { kind: 'check' };
    }
  }

  handleSet(now: number, error?: string): void {
    const { track, value, isRepair } = this.#setting!;
    this.#setting = undefined;
    if (track.isLeaving) {
      if (error !== undefined) this.#tells.push(`Could not restore ${track.item.id}: ${error}`);
      return;
    }
    track.triedAt = now;
    if (error !== undefined) {
      track.error = error;
      track.retryAt = now + track.retry;
      track.retry = Math.min(2 * track.retry, CHECK_INTERVAL);
      return;
    }
    track.observed = value;
    this.#settle(track, value!);
    if (!isRepair) return;
    track.rounds.push(now);
    this.#repaired.push({ id: track.item.id, by: this.#blame(track.item.id) });
  }

  nextTimeout(): number {
    let next = this.#checkAt;
    for (const { error, retryAt, contested } of this.#tracks.values()) {
      if (error !== undefined) next = Math.min(next, retryAt);
      if (contested !== undefined) next = Math.min(next, contested.until);
    }
    return this.#checkAt === Infinity ? Infinity : Math.max(next, 0);
  }

  /** The items that are wanted or not yet restored. */
  ids(): IterableIterator<string> {
    return this.#tracks.keys();
  }

  /** Whether the last attempt to set an item failed, and the next one is due. */
  isFailing(id: string): boolean {
    return this.#tracks.get(id)?.error !== undefined;
  }

  /** Problems that will not be solved soon, in whole sentences. */
  warnings(): string[] {
    return [...this.#tracks.values()].flatMap(({ item, contested, error }) => {
      const effect = item.effect === undefined ? '' : `; ${item.effect}`;
      if (contested !== undefined) return fightText(item.id, contested.by, effect);
      return error === undefined ? [] : `Cannot set ${item.id}: ${error}${effect}`;
    });
  }

  #restore(track: Track): Action | undefined {
    const { item, observed, found, settled } = track;
    this.#tracks.delete(item.id);
    if (settled === undefined || observed !== settled.value || observed === found!.value) return undefined;
    this.#setting = { track, value: found!.value, isRepair: false };
    return { kind: 'restore', id: item.id, value: found!.value };
  }

  #step(track: Track, now: number): Action | undefined {
    const { item, observed, settled } = track;
    if (track.contested !== undefined && now >= track.contested.until) {
      track.contested = undefined;
      track.rounds = [];
      track.resumedAt = now;
    }
    const hasNeeds = (item.needs ?? []).every((id) => this.#tracks.get(id)?.isRight);
    const target = hasNeeds ? item.value : item.otherwise;
    track.isRight = false;
    if (target === undefined) {
      track.error = undefined; // it is not tried before the items that it needs are right
      return undefined;
    }
    if (observed === target) {
      this.#settle(track, target);
      return undefined;
    }
    if (track.contested !== undefined) return undefined;
    const isRepair = settled !== undefined && observed !== settled.value;
    track.rounds = track.rounds.filter((at) => at > now - MINUTE);
    if (isRepair && track.rounds.length >= ROUNDS) {
      this.#giveIn(track, now);
      return undefined;
    }
    if (track.error !== undefined && now < track.retryAt) return undefined;
    this.#setting = { track, value: target, isRepair };
    return { kind: 'set', id: item.id, value: target, found: track.found!.value, isRepair };
  }

  #settle(track: Track, value: string): void {
    track.settled = { value };
    track.isRight = value === track.item.value;
    track.error = undefined;
    track.retry = FIRST_RETRY;
  }

  #giveIn(track: Track, now: number): void {
    const by = this.#blame(track.item.id);
    if (now > track.resumedAt + PEACE) track.truce = MINUTE;
    track.contested = { until: now + track.truce, by };
    track.truce = Math.min(2 * track.truce, LONGEST_TRUCE);
    this.#tells.push(fightText(track.item.id, by));
  }

  #tellRepairs(): boolean {
    if (this.#repaired.length === 0) return false;
    const by = [...new Set(this.#repaired.flatMap((repair) => repair.by ?? []))];
    const ids = this.#repaired.map(({ id }) => id);
    this.#repaired = [];
    this.#tells.push(`Restored ${ids.join(', ')}, which ${nameOf(by.join('; '))} had changed`);
    return true;
  }
}

const nameOf = (by: string | undefined): string =>
  by === undefined || by === '' ? 'another program' : `another program (${by})`;

const fightText = (id: string, by: string | undefined, effect = ''): string =>
  `${id[0]!.toUpperCase()}${id.slice(1)} keeps being changed by ${nameOf(by)}: lametun leaves it alone for now${effect}; stop that program, or configure it to leave this alone`;
