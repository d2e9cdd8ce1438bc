import { TokenBucket } from '../token-bucket.js';

/** [W] 5.3 leaves the rate to the implementation; these are the kernel's and wireguard-go's. */
export const INITIATIONS_PER_SECOND = 20;
export const INITIATIONS_BURST = 5;
const INITIATIONS = { rate: INITIATIONS_PER_SECOND, burst: INITIATIONS_BURST } as const;
/** Sources remembered at a time. A bucket is full again after 50 to 250 ms, so this is at least 30 000 sources a second. */
const MAX_SOURCES = 8192;

/**
 * Limits handshakes per source, [W] 5.3. It is used only under load, and only for sources that have proven their address
 * by a mac2. A source is an IPv4 address, an IPv6 /64, or a member behind a relay.
 */
export class RateLimiter {
  readonly #buckets = new Map<number | string, TokenBucket>();
  #sweptAt = -Infinity;

  /** @param source 4 or 16 address bytes, 2 of the port (ignored), and 4 more for a member behind a relay */
  allows(source: Uint8Array, now: number): boolean {
    const key = sourceKey(source);
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= MAX_SOURCES && !this.#sweep(now)) return false;
      bucket = new TokenBucket(INITIATIONS);
      this.#buckets.set(key, bucket);
    }
    return bucket.take(now);
  }

  /** How many sources are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Forgets sources whose bucket is full again: they are like new ones. At most ten times a second. */
  #sweep(now: number): boolean {
    if (now - this.#sweptAt < 100) return false;
    this.#sweptAt = now;
    for (const [key, bucket] of this.#buckets) if (bucket.isFull(now)) this.#buckets.delete(key);
    return this.#buckets.size < MAX_SOURCES;
  }
}

/** Lengths of sources at a relay. There is one relay at a time. */
const RELAYED = { v4: 4 + 2 + 4, v6: 16 + 2 + 4 } as const;

function sourceKey(source: Uint8Array): number | string {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  if (source.length === RELAYED.v4 || source.length === RELAYED.v6) {
    return `relayed:${view.getUint32(source.length - 4)}`;
  }
  if (source.length < 16) return view.getUint32(0);
  return `${view.getUint32(0)}:${view.getUint32(4)}`;
}
