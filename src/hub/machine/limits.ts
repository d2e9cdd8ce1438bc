import { parseAddress } from '../../ip/address.js';
import { type Rate, TokenBucket } from '../../token-bucket.js';

/** How many addresses are remembered. The oldest is forgotten for a new one. */
const ADDRESSES = 10_000;

/** A bucket for each IPv4 address, and for each IPv6 /64, which belongs to one customer. */
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

/**
 * Limits for guests' requests that need the database: for each address, and for all together. A guest is a client that
 * is not a member.
 */
export interface GuestRates {
  readonly each: Rate;
  readonly all: Rate;
}

/** Room for an office that joins at once, then a few per second. */
const GUESTS: GuestRates = { each: { rate: 5, burst: 200 }, all: { rate: 50, burst: 500 } };

/** Limits guests' requests that need the database. */
export class GuestLimit {
  readonly #each: AddressLimit;
  readonly #all: TokenBucket;

  constructor({ each, all }: GuestRates = GUESTS) {
    this.#each = new AddressLimit(each);
    this.#all = new TokenBucket(all);
  }

  /** An address above its own limit takes nothing from the others. */
  take(address: string, now: number): boolean {
    return this.#each.take(address, now) && this.#all.take(now);
  }
}

function customer(text: string): string {
  const address = parseAddress(text);
  return address?.length === 16 ? address.subarray(0, 8).join() : text;
}
