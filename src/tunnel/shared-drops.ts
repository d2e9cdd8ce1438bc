import { DROP, type Drop } from '../wireguard/drops.js';

/** What only the data plane can meet. */
const TUNNEL_DROP = [
  'too-big', // the kernel would not send it: larger than the path allows
  'congested', // the kernel had no room for it
  'refused', // the TUN device would not take it
  'unreachable', // the kernel knows no way there
  'busy', // more handshake messages, or probes, than the control plane reads
  'not-the-relay', // a relay frame from another address than the relay's
] as const;

const REASONS = [...DROP, ...TUNNEL_DROP] as const;
export type TunnelDrop = Drop | (typeof TUNNEL_DROP)[number];

const INDEX: ReadonlyMap<TunnelDrop, number> = new Map(REASONS.map((reason, i) => [reason, i]));

/** One counter per reason; the worker counts, the control plane reads. */
export class SharedDrops {
  readonly buffer: SharedArrayBuffer;
  readonly #counts: Float64Array;

  /** @param buffer that of the other thread's; without it, a new one is made */
  constructor(buffer = new SharedArrayBuffer(8 * REASONS.length)) {
    this.buffer = buffer;
    this.#counts = new Float64Array(buffer);
  }

  count(reason: TunnelDrop, times = 1): void {
    this.#counts[INDEX.get(reason)!]! += times;
  }

  /** All reasons that have occurred. */
  entries(): [TunnelDrop, number][] {
    return REASONS.map((reason, i): [TunnelDrop, number] => [reason, this.#counts[i]!]).filter(
      ([, n]) => n > 0,
    );
  }
}
