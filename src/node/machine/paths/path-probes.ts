import type { Endpoint } from '../../../ip/endpoint.js';
import type { Probe } from '../../../protocol/probe.js';
import { type Crypto, mapKey } from '../../../wireguard/crypto.js';
import type { PathEvent, ProbeSource } from './path-events.js';
import type { Candidate, PeerPath } from './peer-path.js';

/** Bytes: as long as a pong, so that pings do not amplify traffic. */
const SMALL_PING = 80;
/** How long a NAT that was opened stays open for sure, milliseconds. */
export const OPEN_TIME = 20_000;

/** Makes the probes for peers, and records in their paths what was sent when. */
export class PathProbes {
  readonly #crypto: Pick<Crypto, 'random'>;
  readonly #dataLength: number;
  readonly #tell: (event: PathEvent) => void;

  /** @param dataLength the longest datagram of data, bytes */
  constructor(crypto: Pick<Crypto, 'random'>, dataLength: number, tell: (event: PathEvent) => void) {
    this.#crypto = crypto;
    this.#dataLength = dataLength;
    this.#tell = tell;
  }

  /**
   * @param large as large as data can be
   * @param hops how many routers it may reach; unlimited if not given
   * @returns the transaction, which the pong repeats
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
   * Sends small pings to all candidates without a pending one.
   *
   * @param hops how many routers they may reach, for candidates not heard from lately; unlimited if not given
   */
  pingAll(peer: PeerPath, now: number, hops?: number): void {
    for (const candidate of peer.candidates.values()) {
      if (candidate === peer.current) continue;
      const allowed = now < candidate.heardAt + OPEN_TIME ? undefined : hops;
      const isUnderWay = candidate.waiting && (!candidate.isOpener || allowed !== undefined);
      if (!isUnderWay) this.ping(peer, candidate, false, now, allowed);
    }
  }

  /** Answers a ping. @returns false if the peer is beyond its rate limit */
  pong(peer: PeerPath, transaction: Uint8Array, from: ProbeSource, now: number): boolean {
    if (!peer.pongs.take(now)) return false;
    const seen = from.relayPeer === 0 ? from.remote : undefined;
    const probe: Probe = { type: 'pong', transaction, from: seen };
    this.#tell({ kind: 'probe', peer: peer.id, probe, to: seen, back: from });
    return true;
  }

  /**
   * Sends the candidates of this node.
   *
   * @param answers the transaction of the peer's call that this `opened` answers; undefined: a `call`
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
