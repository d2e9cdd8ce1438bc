import { type Memory, mapShared } from '../linux/memory.js';
import { ReceiveBatch } from '../linux/udp-batch.js';

/** How many datagrams, or bundles of datagrams, are received with one system call. */
export const RECEIVE_BATCH = 32;

/** Where in the arena a packet is read to, with room before it for its `virtio_net_hdr`, and the receive slots. */
export const ARENA = {
  virtioHeader: 10,
  packet: 64,
  /** The largest IP packet. */
  packetSize: 65_535,
  receive: 131_072,
} as const;

const PAGE = 65_536;

/**
 * The worker's memory for packets in the clear. It is WebAssembly's, so that checksums are computed in place; it does
 * not grow, so it does not move.
 */
export interface Arena extends Memory {
  readonly memory: WebAssembly.Memory;
}

export function makeArena(): Arena {
  const pages = Math.ceil((ARENA.receive + ReceiveBatch.size(RECEIVE_BATCH)) / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return { memory, ...mapShared(memory.buffer as unknown as SharedArrayBuffer) };
}
