/** How long to wait for any answer before the server's next address is tried, milliseconds. */
export const PATIENCE = 5_000;

/** How soon after a change of address another error may change it again, milliseconds. */
const SETTLE = 100;

/**
 * Which of a server's addresses a client talks to. A name can have several, and some may be dead.
 *
 * A machine without I/O: tell it `sent`, `heard` and `failed`; when `due` is true, call `next` and connect.
 */
export class ServerChoice {
  readonly #count: number;
  #current = 0;
  #changedAt = Number.NEGATIVE_INFINITY;
  /** When the first datagram was sent since the last answer; undefined if none was. */
  #waitingSince: number | undefined;
  #failed = false;

  /** @param count how many addresses the server has */
  constructor(count: number) {
    this.#count = count;
  }

  /** The number of the address in use. */
  get current(): number {
    return this.#current;
  }

  sent(now: number): void {
    this.#waitingSince ??= now;
  }

  heard(): void {
    this.#waitingSince = undefined;
    this.#failed = false;
  }

  /** The kernel reported an ICMP error, or has no route. */
  failed(): void {
    this.#failed = true;
  }

  /** Whether to try another address: after an error, or after `PATIENCE` without an answer. */
  due(now: number): boolean {
    if (this.#failed && now - this.#changedAt >= SETTLE) return true;
    return this.#waitingSince !== undefined && now - this.#waitingSince >= PATIENCE;
  }

  /** Chooses the next address. A single one is chosen again, because the route may have changed. */
  next(now: number): number {
    this.#current = (this.#current + 1) % this.#count;
    this.#changedAt = now;
    this.#failed = false;
    this.#waitingSince = undefined;
    return this.#current;
  }
}
