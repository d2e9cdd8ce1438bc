/**
 * The longest waits, milliseconds: `first` at first, then longer by `growth` of all the time that was waited, up to
 * `last`. So somebody who is unlucky comes back that part of its absence after the hub, and of thousands somebody is:
 * waits that are doubled would keep him away for as long again.
 */
const BACKOFF = { first: 1000, growth: 0.4, last: 30_000 } as const;
/** The same where another machine has this node's key, and is not to be fought with. */
export const TWINS = { first: 15_000, growth: 1, last: 300_000 } as const;
/** A connection that has lasted so long was a success. One that ended at once was none: the hub may be in trouble. */
const STABLE = 10_000;

/**
 * How long to wait before the hub is tried again. Most of each wait is left to chance, so that thousands of nodes, whose
 * hub went away in the same moment, do not come back in the same moment.
 */
export class Backoff {
  readonly #random: () => number;
  readonly #waits: { readonly first: number; readonly growth: number; readonly last: number };
  #waited = 0;

  /** @param random a double in [0, 1) */
  constructor(random: () => number, waits: typeof BACKOFF | typeof TWINS = BACKOFF) {
    this.#random = random;
    this.#waits = waits;
  }

  /** @param lasted how long the connection that has ended was one, milliseconds; 0 when there was none */
  next(lasted = 0): number {
    if (lasted >= STABLE) this.reset();
    const { first, growth, last } = this.#waits;
    const ceiling = Math.min(first + growth * this.#waited, last);
    const wait = ceiling * (0.1 + 0.9 * this.#random());
    this.#waited += wait;
    return wait;
  }

  /** The longest waits from now on: what failed will not be different in a second. */
  exhaust(): void {
    this.#waited = Infinity;
  }

  reset(): void {
    this.#waited = 0;
  }
}
