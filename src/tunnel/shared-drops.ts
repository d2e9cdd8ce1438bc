import { DROP, type Drop } from '../wireguard/drops.js';

/** Reasons that only the data plane has. */
const TUNNEL_DROP = [
  'too-big', // larger than the path allows
  'congested', // the kernel had no room for it
  'refused', // the TUN device refused it
  'unreachable', // the kernel has no route, or refuses to send
  'busy', // the control plane has too many unread handshake messages or probes
  'not-the-relay', // a relay frame that the relay did not send
] as const;

const REASONS = [...DROP, ...TUNNEL_DROP] as const;
export type TunnelDrop = Drop | (typeof TUNNEL_DROP)[number];

const INDEX: ReadonlyMap<TunnelDrop, number> = new Map(REASONS.map((reason, i) => [reason, i]));

/** One counter for each reason. The worker counts, the control plane reads. */
export class SharedDrops {
  readonly buffer: SharedArrayBuffer;
  readonly #counts: Float64Array;

  /** @param buffer the other thread's; a new one unless given */
  constructor(buffer = new SharedArrayBuffer(8 * REASONS.length)) {
    this.buffer = buffer;
    this.#counts = new Float64Array(buffer);
  }

  count(reason: TunnelDrop, times = 1): void {
    this.#counts[INDEX.get(reason)!]! += times;
  }

  /** All reasons with a count above 0. */
  entries(): [TunnelDrop, number][] {
    return REASONS.map((reason, i): [TunnelDrop, number] => [reason, this.#counts[i]!]).filter(
      ([, n]) => n > 0,
    );
  }
}
