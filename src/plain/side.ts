import type { Memory } from '../linux/ffi/memory.js';
import type { ReceiveBatch } from '../packets/udp-batch.js';

/** What differs between the two ends of a tunnel: whom a packet goes to, and whom a datagram may come from. */
export interface Side {
  /** `ENDPOINT` records of everyone this side may send to; on a connected socket, their names have length 0. */
  readonly endpoints: Memory;

  /**
   * Chooses where an IP packet goes.
   *
   * @param packet where it begins in `bytes`
   * @returns the offset of a record in `endpoints`, or -1 when there is nobody to send it to
   */
  route(bytes: Uint8Array, packet: number, version: 4 | 6, now: number): number;

  /** The counter of drops for which `route` returned -1. */
  readonly noRoute: number;

  /**
   * Decides whether a well-formed datagram may come in.
   *
   * @param slot of the batch that it came in, for its sender
   * @param packet where in the batch's memory its IP packet begins, and its `length`
   * @returns 0, or the counter of drops
   */
  accept(
    batch: ReceiveBatch,
    slot: number,
    packet: number,
    length: number,
    version: 4 | 6,
    now: number,
  ): number;

  /** Hears that the kernel refused to send or receive. */
  failed(errno: number): void;

  /** Does what time demands. */
  tick(now: number): void;
}
