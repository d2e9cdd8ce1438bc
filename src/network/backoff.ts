/** The first wait is at most as long as `first`, each further one may be twice as long, up to `last`; milliseconds. */
const BACKOFF = { first: 1000, last: 30_000 } as const;
/** A connection that has lasted so long was a success. One that ended at once was none: the hub may be in trouble. */
const STABLE = 10_000;

/**
 * How long to wait before the hub is tried again. Most of each wait is left to chance, so that thousands of nodes, whose
 * hub went away in the same moment, do not come back in the same moment.
 */
export class Backoff {
  readonly #random: () => number;
  #ceiling: number = BACKOFF.first;

  /** @param random a double in [0, 1) */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** @param lasted how long the connection that has ended was one, milliseconds; 0 when there was none */
  next(lasted = 0): number {
    if (lasted >= STABLE) this.reset();
    const ceiling = this.#ceiling;
    this.#ceiling = Math.min(2 * ceiling, BACKOFF.last);
    return ceiling * (0.1 + 0.9 * this.#random());
  }

  /** The longest waits from now on: what failed will not be different in a second. */
  exhaust(): void {
    this.#ceiling = BACKOFF.last;
  }

  reset(): void {
    this.#ceiling = BACKOFF.first;
  }
}
