import { AEAD } from '../crypto/aead.js';
import { allocateArena } from '../linux/ffi/memory.js';
import { ReceiveBatch } from '../packets/udp-batch.js';

/** How many datagrams, or bundles of datagrams, are received with one system call. */
export const RECEIVE_BATCH = 32;

/**
 * Where in the arena a packet is read to, with room before it for its `virtio_net_hdr` and for the AEAD; the receive
 * slots; and, behind them, where opened packets are put.
 */
export const ARENA = {
  packet: AEAD.before,
  /** The largest IP packet. */
  packetSize: 65_535,
  receive: 131_072,
  opened: 131_072 + ReceiveBatch.size(RECEIVE_BATCH),
  /** A few bundles' worth: what was written to when the last of it is used is in the cache still. */
  openedSize: 256 * 1024,
} as const;

/** From one packet that is opened to the next there are at least so many bytes: the AEAD's, and the `virtio_net_hdr`. */
export const OPENED_GAP: number = AEAD.before;

/** The worker's memory for packets in the clear. */
export const makeArena = () => allocateArena(ARENA.opened + ARENA.openedSize);
