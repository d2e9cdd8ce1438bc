/**
 * Why a datagram or packet was dropped. Counted, never thrown: anyone on the Internet can cause most of these.
 * The first group is the control plane's, the second the data path's.
 */
export const DROP = [
  'malformed', // type or length is not a WireGuard message's
  'down', // the interface is down: nothing is answered or sent
  'bad-mac1', // the sender does not know our public key, or we have none
  'cookie-sent', // under load, without a mac2: a cookie went out instead
  'rate-limited', // under load, too many from this source
  'bad-handshake', // a tag is wrong, or a shared secret all zeros
  'unknown-peer', // a public key that is not configured
  'old-timestamp', // an initiation that is not newer than the last: replayed, or the peer's clock was set back
  'flooding', // a second initiation of a peer within 20 ms
  'bad-cookie', // a cookie reply that does not answer our last message
  'unknown-index', // no handshake or session has this receiver index
  'bad-tag', // transport data that is not authentic
  'replayed', // a counter that was received before, or is too old
  'counter-limit', // a counter of 2^53 or more
  'expired-key', // received under a session older than REJECT_AFTER_TIME
  'bad-inner-packet', // not an IP packet, or its length field is wrong
  'not-allowed-source', // the inner source is not among the peer's allowed IPs
  'no-peer', // outbound: no peer's allowed IPs contain the destination
  'no-endpoint', // outbound: the peer's address is not known
  'queue-full', // outbound: too many packets wait for a handshake
  'no-session', // outbound: the handshake was given up, and the waiting packets are dropped
  'congestion', // the outer header is marked, and the inner one cannot be (RFC 6040)
] as const;

export type Drop = (typeof DROP)[number];

/** A counter for each reason. One thread counts; another may read. */
export class DropCounters<Reason extends string = Drop> {
  readonly buffer: SharedArrayBuffer;
  readonly #reasons: readonly Reason[];
  readonly #index: ReadonlyMap<Reason, number>;
  readonly #counts: Float64Array;

  /** @param buffer the other thread's; a new one unless given */
  constructor(reasons: readonly Reason[], buffer = new SharedArrayBuffer(8 * reasons.length)) {
    this.buffer = buffer;
    this.#reasons = reasons;
    this.#index = new Map(reasons.map((reason, i) => [reason, i]));
    this.#counts = new Float64Array(buffer);
  }

  count(reason: Reason, times = 1): void {
    this.#counts[this.#index.get(reason)!]! += times;
  }

  of(reason: Reason): number {
    return this.#counts[this.#index.get(reason)!]!;
  }

  /** All reasons that have occurred. */
  entries(): [Reason, number][] {
    return this.#reasons
      .map((reason): [Reason, number] => [reason, this.of(reason)])
      .filter(([, count]) => count > 0);
  }
}
