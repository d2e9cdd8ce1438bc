/** The shortest time for a search after one was abandoned, doubled for each further one in a row; milliseconds. */
const PATIENCE = { first: 500, last: 8_000 } as const;

/**
 * How long a search for the hub continues although this machine's network has changed. The first one is abandoned at once.
 * Later ones get more time, so that a machine whose network changes all the time still reaches its hub.
 */
export class SearchPatience {
  #startedAt = -Infinity;
  #abandoned = 0;

  /** A search begins. @param now milliseconds */
  begin(now: number): void {
    this.#startedAt = now;
  }

  /** How long the search must still continue, milliseconds; 0 or less: it may be abandoned. */
  rest(now: number): number {
    if (this.#abandoned === 0) return 0;
    const patience = Math.min(PATIENCE.first * 2 ** (this.#abandoned - 1), PATIENCE.last);
    return this.#startedAt + patience - now;
  }

  /** The search is abandoned because the network has changed. */
  abandon(): void {
    this.#abandoned++;
  }

  /** A search came to its end. */
  reset(): void {
    this.#abandoned = 0;
  }
}
