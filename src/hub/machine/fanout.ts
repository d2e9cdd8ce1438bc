import type { MapVersion } from '../../protocol/messages.js';
import type { Scheduler } from './scheduler.js';

/** A client that is kept up to date. */
export interface Follower {
  /** Sends an encoded message; `done` is called once the kernel has taken all of it. */
  sendEncoded(message: Uint8Array, done: () => void): void;
}

/** What followers are told about: `Members`, or `Presence`. */
export interface Source {
  readonly version: MapVersion;
  map(): Uint8Array;
  since(revision: number): Uint8Array;
}

/** How long a round keeps the event loop busy before other events get their turn, milliseconds. */
const SLICE = 8;
/** After a round there is a pause as long as the round, so that changes in quick succession go out together. Milliseconds. */
const SHORTEST_PAUSE = 10;
const LONGEST_PAUSE = 250;
/** The pause after a round that took `took` milliseconds. */
type Pause = (took: number, followers: number) => number;
const mapPause: Pause = (took) => Math.min(LONGEST_PAUSE, Math.max(SHORTEST_PAUSE, took));
/** Bytes. Limits the large messages in flight, to all followers together. */
const LARGE = 64 * 1024;
const LARGE_IN_FLIGHT = 32 * 1024 * 1024;

interface State {
  /** The last revision sent to it; undefined before its first map. */
  revision: number | undefined;
  busy: boolean;
}

/**
 * Keeps every follower up to date. At most one message is in flight to each: a slow reader gets fewer, larger updates, and
 * never has a queue.
 */
export class Fanout {
  readonly #source: Source;
  readonly #scheduler: Scheduler;
  readonly #pause: Pause;
  readonly #followers = new Map<Follower, State>();
  /** Followers that this round has not updated yet. */
  readonly #behind = new Set<Follower>();
  /** New followers, which do not wait for a round. */
  readonly #arrived = new Set<Follower>();
  /** Followers whose large message waits for room. */
  readonly #waiting = new Set<Follower>();
  /** Whether a round is running or scheduled. */
  #running = false;
  /** Whether something has changed since this round began. */
  #isStale = false;
  #greeting = false;
  #nextRound = 0;
  #roundBegan = 0;
  #largeInFlight = 0;

  constructor(source: Source, scheduler: Scheduler, pause: Pause = mapPause) {
    this.#source = source;
    this.#scheduler = scheduler;
    this.#pause = pause;
  }

  /**
   * Adds a follower, and sends it the changes since `revision`, even if there are none; without `revision`, the map.
   */
  add(follower: Follower, revision?: number): void {
    this.#followers.set(follower, { revision, busy: false });
    this.#arrived.add(follower);
    this.#greet();
  }

  delete(follower: Follower): void {
    this.#followers.delete(follower);
    this.#behind.delete(follower);
    this.#arrived.delete(follower);
    this.#waiting.delete(follower);
  }

  /** Announces a new revision. A change during a round waits for the next one, or rounds would never end. */
  changed(): void {
    this.#isStale = true;
    if (this.#running) return;
    this.#running = true;
    const wait = this.#nextRound - this.#scheduler.now();
    const begin = (): void => this.#round();
    if (wait <= 0) this.#scheduler.soon(begin);
    else this.#scheduler.later(begin, wait);
  }

  #round(): void {
    this.#isStale = false;
    this.#roundBegan = this.#scheduler.now();
    const { revision } = this.#source.version;
    for (const [follower, state] of this.#followers) {
      const comesAnyway = this.#waiting.has(follower) || this.#arrived.has(follower);
      if (state.revision !== revision && !comesAnyway) this.#behind.add(follower);
    }
    this.#slice(this.#behind, () => {
      const now = this.#scheduler.now();
      this.#nextRound = now + this.#pause(now - this.#roundBegan, this.#followers.size);
      this.#running = false;
      if (this.#isStale) this.changed();
    });
  }

  #greet(): void {
    if (this.#greeting || this.#arrived.size === 0) return;
    this.#greeting = true;
    this.#scheduler.soon(() =>
      this.#slice(this.#arrived, () => {
        this.#greeting = false;
      }),
    );
  }

  /** Updates these followers, with breaks for other events. */
  #slice(whom: Set<Follower>, then: () => void): void {
    const began = this.#scheduler.now();
    for (const follower of whom) {
      whom.delete(follower);
      const state = this.#followers.get(follower)!;
      if (!state.busy) this.#tell(follower, state); // a busy one is updated when its message has gone out
      if (this.#scheduler.now() - began > SLICE) {
        this.#scheduler.soon(() => this.#slice(whom, then));
        return;
      }
    }
    then();
  }

  #tell(follower: Follower, state: State): void {
    const { revision } = this.#source.version;
    const message = state.revision === undefined ? this.#source.map() : this.#source.since(state.revision);
    const isLarge = message.length > LARGE;
    if (isLarge && this.#largeInFlight > LARGE_IN_FLIGHT) {
      this.#waiting.add(follower);
      return;
    }
    if (isLarge) this.#largeInFlight += message.length;
    state.revision = revision;
    state.busy = true;
    let pending = true;
    follower.sendEncoded(message, () => {
      if (!pending) return;
      pending = false;
      state.busy = false;
      if (isLarge) this.#makeRoom(message.length);
      const isBehind = state.revision !== this.#source.version.revision;
      if (isBehind && this.#followers.get(follower) === state) this.changed();
    });
  }

  #makeRoom(length: number): void {
    this.#largeInFlight -= length;
    let room = LARGE_IN_FLIGHT - this.#largeInFlight;
    for (const follower of this.#waiting) {
      if (room < 0) break;
      room -= length;
      this.#waiting.delete(follower);
      this.#arrived.add(follower);
    }
    this.#greet();
  }
}
