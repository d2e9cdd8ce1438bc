/** How many packets may wait for one peer's session, and how many bytes for those of all peers together. */
export const WAITING_PER_PEER = 128;
export const WAITING_BYTES = 4 << 20;

/** What a packet takes beside its own bytes, about: 320 to 380, with 100 000 of 1420, 64 and 20 bytes. */
const OVERHEAD = 384;

/** Packets that wait for one peer's session, oldest first, and the memory that they take, in bytes. */
export interface Waiting {
  readonly waiting: Uint8Array[];
  waitingBytes: number;
}

/**
 * Packets that wait for sessions, of all peers. Who floods a peer that does not answer shall take the room of nobody
 * else: when it is used up, the oldest packet goes of somebody who has more than an equal share of it.
 */
export class WaitingPackets<Peer extends Waiting> {
  /** Who has any. Those who were found to have no more than their share are at the end. */
  readonly #peers = new Set<Peer>();
  #bytes = 0;

  /** Takes a packet. @returns how many had to go for it; it may be among them */
  add(peer: Peer, packet: Uint8Array): number {
    this.#peers.add(peer);
    peer.waiting.push(packet);
    this.#count(peer, packet, 1);
    let gone = 0;
    for (; peer.waiting.length > WAITING_PER_PEER; gone++) this.shift(peer);
    for (; this.#bytes > WAITING_BYTES; gone++) this.shift(this.#giver(peer));
    return gone;
  }

  /** Takes away a peer's oldest: of those that wait the one least missed, when one has to go. */
  shift(peer: Peer): void {
    this.#count(peer, peer.waiting.shift()!, -1);
    if (peer.waiting.length === 0) this.#peers.delete(peer);
  }

  /** Takes away all of a peer. @returns how many there were */
  discard(peer: Peer): number {
    const { length } = peer.waiting;
    while (peer.waiting.length > 0) this.shift(peer);
    return length;
  }

  /** Who has more than its share, which somebody must when there is too much: the one that adds, or else another. */
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
