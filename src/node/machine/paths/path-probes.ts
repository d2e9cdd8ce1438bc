import type { Endpoint } from '../../../ip/endpoint.js';
import type { Probe } from '../../../protocol/probe.js';
import { type Crypto, mapKey } from '../../../wireguard/crypto.js';
import type { PathEvent, ProbeSource } from './path-events.js';
import type { Candidate, PeerPath } from './peer-path.js';

/** Bytes: as long as a pong, so that nobody gets more by a ping than it cost to send it. */
const SMALL_PING = 80;
/** For so long a NAT surely lets in what it was opened for. */
export const OPEN_TIME = 20_000;

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

  /**
   * @param large as large as data can be
   * @param hops how many routers it may pass; all unless given
   * @returns the transaction that the answer will bear
   */
  ping(peer: PeerPath, candidate: Candidate, large: boolean, now: number, hops?: number): string {
    const transaction = this.#transaction();
    const key = mapKey(transaction);
    candidate.sent(key, large, hops !== undefined, now);
    const probe: Probe = { type: 'ping', transaction, length: large ? this.#dataLength : SMALL_PING };
    this.#tell({ kind: 'probe', peer: peer.id, probe, to: candidate.endpoint, ...(hops && { hops }) });
    return key;
  }

  /**
   * Small ones, to wherever the peer may be and none is under way.
   *
   * @param hops how many routers they may pass where the peer was not heard of late; all unless given
   */
  pingAll(peer: PeerPath, now: number, hops?: number): void {
    for (const candidate of peer.candidates.values()) {
      if (candidate === peer.current) continue;
      const allowed = now < candidate.heardAt + OPEN_TIME ? undefined : hops;
      const isUnderWay = candidate.waiting && (!candidate.isOpener || allowed !== undefined);
      if (!isUnderWay) this.ping(peer, candidate, false, now, allowed);
    }
  }

  /** Answers a ping. @returns false when the peer has asked too often: it gets none */
  pong(peer: PeerPath, transaction: Uint8Array, from: ProbeSource, now: number): boolean {
    if (!peer.pongs.take(now)) return false;
    const seen = from.relayPeer === 0 ? from.remote : undefined;
    const probe: Probe = { type: 'pong', transaction, from: seen };
    this.#tell({ kind: 'probe', peer: peer.id, probe, to: seen, back: from });
    return true;
  }

  /**
   * Says where we are.
   *
   * @param answers the transaction of the peer's that we have opened our NAT for; undefined calls it
   * @param to undefined: through the relay
   */
  call(
    peer: PeerPath,
    own: readonly Endpoint[],
    to: Endpoint | undefined,
    answers: Uint8Array | undefined,
  ): void {
    const transaction = this.#transaction();
    peer.noteTold(mapKey(transaction));
    const kind = answers === undefined ? { type: 'call' as const } : { type: 'opened' as const, answers };
    const probe: Probe = { ...kind, transaction, addresses: own };
    this.#tell({ kind: 'probe', peer: peer.id, probe, to });
  }

  #transaction(): Uint8Array {
    const bytes = new Uint8Array(8);
    this.#crypto.random(bytes);
    return bytes;
  }
}
