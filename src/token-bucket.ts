export interface Rate {
  /** Tokens per second. */
  readonly rate: number;
  /** The most tokens at once. */
  readonly burst: number;
}

/** A token bucket: `burst` tokens at first, then `rate` per second. Times in milliseconds. */
export class TokenBucket {
  readonly #limit: Rate;
  #tokens: number;
  #at = -Infinity;

  constructor(limit: Rate) {
    this.#limit = limit;
    this.#tokens = limit.burst;
  }

  /** Takes a token. @returns false if there is none */
  take(now: number): boolean {
    if (!this.has(now)) return false;
    this.#tokens--;
    return true;
  }

  /** Takes a token, on credit if there is none. @returns whether there was one */
  spend(now: number): boolean {
    const had = this.has(now);
    this.#tokens--;
    return had;
  }

  has(now: number): boolean {
    const { rate, burst } = this.#limit;
    const elapsed = Math.max(0, now - this.#at); // a clock that is set back removes no tokens
    this.#tokens = Math.min(burst, this.#tokens + (elapsed * rate) / 1000);
    this.#at = now;
    return this.#tokens >= 1;
  }

  /** Milliseconds until there is a token. */
  wait(now: number): number {
    return this.has(now) ? 0 : ((1 - this.#tokens) * 1000) / this.#limit.rate;
  }

  /** Whether no token is missing. */
  isFull(now: number): boolean {
    this.has(now);
    return this.#tokens >= this.#limit.burst;
  }
}
