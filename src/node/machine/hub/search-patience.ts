/** For how long a search goes on at least after so many that were given up in a row, milliseconds: twice as long each time. */
const PATIENCE = { first: 500, last: 8_000 } as const;

/**
 * How long a search for the hub is left alone although this machine's network has changed: the first is given up at once,
 * but where the network changes all the time, something must get done.
 */
export class SearchPatience {
  #startedAt = -Infinity;
  #abandoned = 0;

  /** A search begins. @param now milliseconds, as everywhere here */
  begin(now: number): void {
    this.#startedAt = now;
  }

  /** For how long yet the search must not be given up; 0 or less: it may be. */
  rest(now: number): number {
    if (this.#abandoned === 0) return 0;
    const patience = Math.min(PATIENCE.first * 2 ** (this.#abandoned - 1), PATIENCE.last);
    return this.#startedAt + patience - now;
  }

  /** It is given up, because the network has changed. */
  abandon(): void {
    this.#abandoned++;
  }

  /** A search came to its end. */
  reset(): void {
    this.#abandoned = 0;
  }
}
