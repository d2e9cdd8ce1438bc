/** The most packets that may wait for one peer's session, and the most bytes for all peers together. */
export const WAITING_PER_PEER = 128;
export const WAITING_BYTES = 4 << 20;

/** Memory that a packet takes besides its bytes. Measured with 100 000 packets of 1420, 64 and 20 bytes: 320 to 380. */
const OVERHEAD = 384;

/** Packets that wait for one peer's session, oldest first, and the memory that they take in bytes. */
export interface Waiting {
  readonly waiting: Uint8Array[];
  waitingBytes: number;
}

/**
 * Packets that wait for sessions, of all peers. A flood to a peer that does not answer must not take other peers' room:
 * when the room is used up, the oldest packet of a peer with more than an equal share is dropped.
 */
export class WaitingPackets<Peer extends Waiting> {
  /** Peers with packets. Those found to have no more than their share are at the end. */
  readonly #peers = new Set<Peer>();
  #bytes = 0;

  /** Adds a packet. @returns how many were dropped for it; it may be one of them */
  add(peer: Peer, packet: Uint8Array): number {
    this.#peers.add(peer);
    peer.waiting.push(packet);
    this.#count(peer, packet, 1);
    let gone = 0;
    for (; peer.waiting.length > WAITING_PER_PEER; gone++) this.shift(peer);
    for (; this.#bytes > WAITING_BYTES; gone++) this.shift(this.#giver(peer));
    return gone;
  }

  /** Removes a peer's oldest packet, which is the least useful one. */
  shift(peer: Peer): void {
    this.#count(peer, peer.waiting.shift()!, -1);
    if (peer.waiting.length === 0) this.#peers.delete(peer);
  }

  /** Removes all packets of a peer. @returns how many there were */
  discard(peer: Peer): number {
    const { length } = peer.waiting;
    while (peer.waiting.length > 0) this.shift(peer);
    return length;
  }

  /**
   * A peer with more than its share: the adding one if it has, otherwise another. One exists when there is too much.
   */
  #giver(adding: Peer): Peer {
    const share = WAITING_BYTES / this.#peers.size;
    if (adding.waiting.length > 1 && adding.waitingBytes > share) return adding;
    for (const peer of this.#peers) {
      if (peer.waitingBytes > share) return peer;
      this.#peers.delete(peer);
      this.#peers.add(peer);
    }
    return adding;
  }

  #count(peer: Peer, packet: Uint8Array, sign: 1 | -1): void {
    const bytes = sign * (packet.length + OVERHEAD);
    peer.waitingBytes += bytes;
    this.#bytes += bytes;
  }
}
