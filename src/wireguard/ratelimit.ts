/** [W] 5.3 leaves the rate to the implementation; these are the kernel's and wireguard-go's. */
export const INITIATIONS_PER_SECOND = 20;
export const INITIATIONS_BURST = 5;
/** Sources remembered at a time. A bucket is full again after 250 ms, so this is some 30 000 sources a second. */
const MAX_SOURCES = 8192;

interface Bucket {
  tokens: number;
  at: number;
}

/**
 * Limits handshakes per source, [W] 5.3: asked only under load, and only about sources that have shown by a
 * mac2 that they own their address. A source is an IPv4 address or an IPv6 /64, or somebody at a relay.
 */
export class RateLimiter {
  readonly #buckets = new Map<number | string, Bucket>();
  #sweptAt = -Infinity;

  /** @param source 4 or 16 address bytes, and 2 of the port, which do not matter; 4 more say who it is at a relay */
  allows(source: Uint8Array, now: number): boolean {
    const key = sourceKey(source);
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= MAX_SOURCES && !this.#sweep(now)) return false;
      this.#buckets.set(key, { tokens: INITIATIONS_BURST - 1, at: now });
      return true;
    }
    const refilled = ((now - bucket.at) * INITIATIONS_PER_SECOND) / 1000;
    bucket.tokens = Math.min(INITIATIONS_BURST, bucket.tokens + refilled);
    bucket.at = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  /** How many sources are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Forgets all whose bucket would be full again, which is as if never seen. At most ten times a second. */
  #sweep(now: number): boolean {
    if (now - this.#sweptAt < 100) return false;
    this.#sweptAt = now;
    const full = (INITIATIONS_BURST / INITIATIONS_PER_SECOND) * 1000;
    for (const [key, { at }] of this.#buckets) if (now - at >= full) this.#buckets.delete(key);
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
