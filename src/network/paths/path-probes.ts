import type { Endpoint } from '../../linux/socket-address.js';
import type { Probe } from '../../wire/probe.js';
import { type Crypto, mapKey } from '../../wireguard/crypto.js';
import type { PathEvent, ProbeSource } from './path-events.js';
import type { Candidate, PeerPath } from './peer-path.js';

/** Bytes: as long as a pong, so that nobody gets more by a ping than it cost to send it. */
const SMALL_PING = 80;
/** Answers to a peer's pings: a second, and at once. */
const PONG_RATE = 20;
const PONG_BURST = 40;

/** Makes the probes that go to peers, and notes in their paths what was sent when. */
export class PathProbes {
  readonly #crypto: Pick<Crypto, 'random'>;
  readonly #dataLength: number;
  readonly #tell: (event: PathEvent) => void;

  /** @param dataLength the longest datagram that data makes, bytes */
  constructor(crypto: Pick<Crypto, 'random'>, dataLength: number, tell: (event: PathEvent) => void) {
    this.#crypto = crypto;
    this.#dataLength = dataLength;
    this.#tell = tell;
  }

  /** @param large as large as data can be @returns the transaction that the answer will bear */
  ping(peer: PeerPath, candidate: Candidate, large: boolean, now: number): string {
    const transaction = this.#transaction();
    const key = mapKey(transaction);
    candidate.sent(key, large, now);
    const probe: Probe = { type: 'ping', transaction, length: large ? this.#dataLength : SMALL_PING };
    this.#tell({ kind: 'probe', peer: peer.id, probe, to: candidate.endpoint });
    return key;
  }

  /** Small ones, to wherever the peer may be and none is under way. */
  pingAll(peer: PeerPath, now: number): void {
    for (const candidate of peer.candidates.values())
      if (!candidate.waiting && candidate !== peer.current) this.ping(peer, candidate, false, now);
  }

  /** Answers a ping. @returns false when the peer has asked too often: it gets none */
  pong(peer: PeerPath, transaction: Uint8Array, from: ProbeSource, now: number): boolean {
    const refilled = peer.pongs + ((now - peer.pongsAt) * PONG_RATE) / 1000;
    peer.pongs = Math.min(PONG_BURST, refilled);
    peer.pongsAt = now;
    if (peer.pongs < 1) return false;
    peer.pongs -= 1;
    const seen = from.relayPeer === 0 ? from.remote : undefined;
    const probe: Probe = { type: 'pong', transaction, from: seen };
    this.#tell({ kind: 'probe', peer: peer.id, probe, to: seen, back: from });
    return true;
  }

  /** Says where we are. @param to undefined: through the relay */
  call(peer: PeerPath, own: readonly Endpoint[], to: Endpoint | undefined, now: number): void {
    peer.calledAt = now;
    const probe: Probe = { type: 'call', transaction: this.#transaction(), addresses: own };
    this.#tell({ kind: 'probe', peer: peer.id, probe, to });
  }

  #transaction(): Uint8Array {
    const bytes = new Uint8Array(8);
    this.#crypto.random(bytes);
    return bytes;
  }
}
