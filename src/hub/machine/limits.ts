import { parseAddress } from '../../ip/address.js';
import { type Rate, TokenBucket } from '../../token-bucket.js';

/** How many addresses are remembered. The oldest is forgotten for a new one. */
const ADDRESSES = 10_000;

/** A bucket for each remote address; for an IPv6 one its /64, which is one customer's. */
export class AddressLimit {
  readonly #limit: Rate;
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(limit: Rate) {
    this.#limit = limit;
  }

  take(address: string, now: number): boolean {
    const key = customer(address);
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#limit);
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
  readonly #all: TokenBucket;

  constructor({ each, all }: GuestRates = GUESTS) {
    this.#each = new AddressLimit(each);
    this.#all = new TokenBucket(all);
  }

  /** Whoever is above its own limit takes nothing from the others. */
  take(address: string, now: number): boolean {
    return this.#each.take(address, now) && this.#all.take(now);
  }
}

function customer(text: string): string {
  const address = parseAddress(text);
  return address?.length === 16 ? address.subarray(0, 8).join() : text;
}
