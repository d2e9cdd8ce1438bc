/**
 * The longest waits, milliseconds: `first` at first, then longer by `growth` times the total time waited, up to `last`.
 * So the unluckiest of thousands of nodes returns late by that fraction of the hub's absence. Doubled waits would keep it
 * away for as long again.
 */
const BACKOFF = { first: 1000, growth: 0.4, last: 30_000 } as const;
/** The same while another machine is connected with this node's key, so that the two do not fight over the hub. */
export const TWINS = { first: 15_000, growth: 1, last: 300_000 } as const;
/** A connection that lasted this long was a success, milliseconds. One that ended sooner may mean that the hub is in trouble. */
const STABLE = 10_000;

/**
 * How long to wait before the next attempt to reach the hub. Most of each wait is random, so that thousands of nodes that
 * lost their hub at the same moment do not return at the same moment.
 */
export class Backoff {
  readonly #random: () => number;
  readonly #waits: typeof BACKOFF | typeof TWINS;
  #waited = 0;

  /** @param random a double in [0, 1) */
  constructor(random: () => number, waits: typeof BACKOFF | typeof TWINS = BACKOFF) {
    this.#random = random;
    this.#waits = waits;
  }

  /** @param lasted how long the last connection was attached, milliseconds; 0 if there was none */
  next(lasted = 0): number {
    if (lasted >= STABLE) this.reset();
    const { first, growth, last } = this.#waits;
    const ceiling = Math.min(first + growth * this.#waited, last);
    const wait = ceiling * (0.1 + 0.9 * this.#random());
    this.#waited += wait;
    return wait;
  }

  /** Uses the longest waits from now on: what failed will not change in a second. */
  exhaust(): void {
    this.#waited = Infinity;
  }

  reset(): void {
    this.#waited = 0;
  }
}
