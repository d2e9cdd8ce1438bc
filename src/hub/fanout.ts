import type { MapVersion } from '../wire/messages.js';

/** Somebody who is to have the map as it is now. */
export interface Follower {
  /** Sends an encoded message; `done` is called once the kernel has taken all of it. */
  sendEncoded(message: Uint8Array, done: () => void): void;
}

/** What is to be sent: `Members`. */
export interface Source {
  readonly version: MapVersion;
  map(): Uint8Array;
  since(revision: number): Uint8Array;
}

/** Runs something soon: after what else waits in the event loop, or after so many milliseconds. */
export interface Scheduler {
  soon(fn: () => void): void;
  later(fn: () => void, milliseconds: number): void;
  now(): number;
}

export const scheduler: Scheduler = {
  soon: (fn) => void setImmediate(fn),
  later: (fn, milliseconds) => void setTimeout(fn, milliseconds).unref(),
  now: () => performance.now(),
};

/** How long the event loop is kept busy at a stretch, in milliseconds. */
const SLICE = 8;
/** Changes that follow each other closely go out together; the longer a round takes, the more of them. */
const SHORTEST_INTERVAL = 10;
const LONGEST_INTERVAL = 400;
/** Bytes. Large messages are made only as fast as they are taken, all followers together. */
const LARGE = 64 * 1024;
const LARGE_IN_FLIGHT = 32 * 1024 * 1024;

interface State {
  /** The revision that it has been told of; undefined before its first map. */
  revision: number | undefined;
  busy: boolean;
}

/**
 * Keeps everyone's map up to date. At most one message is under way to each follower: who reads slowly gets fewer,
 * larger ones, and never has a queue.
 */
export class Fanout {
  readonly #source: Source;
  readonly #scheduler: Scheduler;
  readonly #followers = new Map<Follower, State>();
  /** Who has something to be told, in the order in which they will be. */
  readonly #behind = new Set<Follower>();
  /** Those of them whose message is a large one, until there is room for it. */
  readonly #waiting = new Set<Follower>();
  #running = false;
  #nextRound = 0;
  #roundBegan = 0;
  #largeInFlight = 0;

  constructor(source: Source, clock: Scheduler = scheduler) {
    this.#source = source;
    this.#scheduler = clock;
  }

  /**
   * From now on it is told: first of all what has changed since `revision`, be it nothing, or the map.
   */
  add(follower: Follower, revision?: number): void {
    this.#followers.set(follower, { revision, busy: false });
    this.#behind.add(follower);
    this.#run(0);
  }

  delete(follower: Follower): void {
    this.#followers.delete(follower);
    this.#behind.delete(follower);
    this.#waiting.delete(follower);
  }

  /** There is a new revision. */
  changed(): void {
    for (const follower of this.#followers.keys())
      if (!this.#waiting.has(follower)) this.#behind.add(follower);
    this.#run(this.#nextRound - this.#scheduler.now());
  }

  #run(wait: number): void {
    if (this.#running) return;
    this.#running = true;
    const begin = (): void => {
      this.#roundBegan = this.#scheduler.now();
      this.#slice();
    };
    if (wait <= 0) this.#scheduler.soon(begin);
    else this.#scheduler.later(begin, wait);
  }

  #slice(): void {
    const began = this.#scheduler.now();
    for (const follower of this.#behind) {
      this.#behind.delete(follower);
      const state = this.#followers.get(follower)!;
      if (!state.busy) this.#tell(follower, state); // who is busy comes back when it is done
      if (this.#scheduler.now() - began > SLICE) {
        this.#scheduler.soon(() => this.#slice());
        return;
      }
    }
    this.#running = false;
    const now = this.#scheduler.now();
    const interval = 2 * (now - this.#roundBegan);
    this.#nextRound = now + Math.min(LONGEST_INTERVAL, Math.max(SHORTEST_INTERVAL, interval));
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
      if (isBehind && this.#followers.get(follower) === state) this.#behind.add(follower);
      if (this.#behind.size > 0) this.#run(0);
    });
  }

  #makeRoom(length: number): void {
    this.#largeInFlight -= length;
    let room = LARGE_IN_FLIGHT - this.#largeInFlight;
    for (const follower of this.#waiting) {
      if (room < 0) break;
      room -= length;
      this.#waiting.delete(follower);
      this.#behind.add(follower);
    }
  }
}
