import { AEAD } from '../crypto/aead.js';
import { allocateArena } from '../linux/ffi/memory.js';
import { ReceiveBatch } from '../packets/udp-batch.js';

/** How many datagrams, or bundles of datagrams, one system call receives at most. */
export const RECEIVE_BATCH = 32;

/**
 * The arena's layout: the packet that was read, with room in front for its `virtio_net_hdr` and for the AEAD; the
 * receive slots; the opened packets.
 */
export const ARENA = {
  packet: AEAD.before,
  /** The largest IP packet. */
  packetSize: 65_535,
  receive: 131_072,
  opened: 131_072 + ReceiveBatch.size(RECEIVE_BATCH),
  /** Enough for a few bundles, and small enough to stay in the cache. */
  openedSize: 256 * 1024,
} as const;

/** The smallest gap between opened packets: the AEAD and the `virtio_net_hdr` need it. */
export const OPENED_GAP: number = AEAD.before;

/** The worker's memory for unencrypted packets. */
export const makeArena = () => allocateArena(ARENA.opened + ARENA.openedSize);
