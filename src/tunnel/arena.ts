import { allocateArena } from '../linux/memory.js';
import { ReceiveBatch } from '../linux/udp-batch.js';

/** How many datagrams, or bundles of datagrams, are received with one system call. */
export const RECEIVE_BATCH = 32;

/** Where in the arena a packet is read to, with room before it for its `virtio_net_hdr`, and the receive slots. */
export const ARENA = {
  packet: 64,
  /** The largest IP packet. */
  packetSize: 65_535,
  receive: 131_072,
} as const;

/** The worker's memory for packets in the clear. */
export const makeArena = () => allocateArena(ARENA.receive + ReceiveBatch.size(RECEIVE_BATCH));
