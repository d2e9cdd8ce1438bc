import type { Memory } from '../linux/ffi/memory.js';
import type { ReceiveBatch } from '../packets/udp-batch.js';

/** What differs between the two ends of a tunnel: where packets go, and who may send datagrams. */
export interface Side {
  /** `ENDPOINT` records of all receivers. On a connected socket, their names have length 0. */
  readonly endpoints: Memory;

  /**
   * Chooses where an IP packet goes.
   *
   * @param packet where it begins in `bytes`
   * @returns the offset of a record in `endpoints`, or -1 if there is no receiver
   */
  route(bytes: Uint8Array, packet: number, version: 4 | 6, now: number): number;

  /** The counter for drops after `route` returned -1. */
  readonly noRoute: number;

  /**
   * Decides whether to accept a well-formed datagram.
   *
   * @param slot the datagram's slot in the batch
   * @param packet where in the batch's memory its IP packet begins, and its `length`
   * @returns 0, or the counter for the drop
   */
  accept(
    batch: ReceiveBatch,
    slot: number,
    packet: number,
    length: number,
    version: 4 | 6,
    now: number,
  ): number;

  /** Called when the kernel refuses to send or receive. */
  failed(errno: number): void;

  /** Does what is due. Called at least every 500 ms. */
  tick(now: number): void;
}
