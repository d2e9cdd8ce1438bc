import { parseAddress } from '../../ip/address.js';

/** Tokens that come back with time: `burst` at once, then `rate` a second. */
export class Bucket {
  readonly #rate: number;
  readonly #burst: number;
  #tokens: number;
  #at: number;

  constructor(rate: number, burst: number, now: number) {
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = now;
  }

  /** Takes one, or says that there is none. */
  take(now: number): boolean {
    if (!this.has(now)) return false;
    this.#tokens--;
    return true;
  }

  /** Takes one, if need be of those to come. @returns whether there was one */
  spend(now: number): boolean {
    const had = this.has(now);
    this.#tokens--;
    return had;
  }

  has(now: number): boolean {
    this.#tokens = Math.min(this.#burst, this.#tokens + (Math.max(0, now - this.#at) / 1000) * this.#rate);
    this.#at = now;
    return this.#tokens >= 1;
  }

  /** In how many milliseconds there is one. */
  wait(now: number): number {
    return this.has(now) ? 0 : ((1 - this.#tokens) / this.#rate) * 1000;
  }
}

/** How many addresses are remembered. The oldest is forgotten for a new one. */
const ADDRESSES = 10_000;

/** A bucket for each remote address; for an IPv6 one its /64, which is one customer's. */
export class AddressLimit {
  readonly #rate: number;
  readonly #burst: number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(rate: number, burst: number) {
    this.#rate = rate;
    this.#burst = burst;
  }

  take(address: string, now: number): boolean {
    const key = customer(address);
    const bucket = this.#buckets.get(key) ?? new Bucket(this.#rate, this.#burst, now);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > ADDRESSES) this.#buckets.delete(this.#buckets.keys().next().value!);
    return bucket.take(now);
  }
}

/** How many requests guests, clients that are no members, may make that need the database: each address, and all together. */
export interface GuestRates {
  readonly each: Rate;
  readonly all: Rate;
}

/** An office that joins at once, and then a few a second. */
const GUESTS: GuestRates = { each: { rate: 5, burst: 200 }, all: { rate: 50, burst: 500 } };

/** Comes before every request of a guest that needs the database. */
export class GuestLimit {
  readonly #each: AddressLimit;
  readonly #all: Bucket;

  constructor(now: number, { each, all }: GuestRates = GUESTS) {
    this.#each = new AddressLimit(each.rate, each.burst);
    this.#all = new Bucket(all.rate, all.burst, now);
  }

  /** Whoever is above its own limit takes nothing from the others. */
  take(address: string, now: number): boolean {
    return this.#each.take(address, now) && this.#all.take(now);
  }
}

interface Rate {
  /** A second. */
  readonly rate: number;
  /** At once. */
  readonly burst: number;
}

function customer(text: string): string {
  const address = parseAddress(text);
  return address?.length === 16 ? address.subarray(0, 8).join() : text;
}
