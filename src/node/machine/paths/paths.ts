import type { Cidr } from '../../../ip/cidr.js';
import { type Endpoint, formatEndpoint } from '../../../ip/endpoint.js';
import type { NodeId } from '../../../protocol/node-id.js';
import type { Probe } from '../../../protocol/probe.js';
import { type Crypto, mapKey } from '../../../wireguard/crypto.js';
import { Deadlines } from '../../../wireguard/deadlines.js';
import { EventQueue } from '../../../wireguard/event-queue.js';
import type { PathStatus } from '../../control/control.js';
import { endpointKey } from './candidates.js';
import type { PathEvent, ProbeSource } from './path-events.js';
import { PathProbes } from './path-probes.js';
import { PathRules, type Situation } from './path-rules.js';
import { explainPath } from './path-text.js';
import { PeerPath } from './peer-path.js';

export interface PathsOptions {
  readonly crypto: Pick<Crypto, 'random'>;
  /** The network's own ranges, before any network is shared: see `setInside`. */
  readonly inside: readonly Cidr[];
  /** The longest datagram that data makes, bytes: what a direct path must carry. */
  readonly dataLength: number;
}

/**
 * Chooses the way to every peer: the relay, or an address at which it answers. Sans-I/O.
 *
 * Contract. After every call take all of `poll()`, and call `handleTimeout` when `nextTimeout()` comes. `now` is in
 * milliseconds, of a clock that never goes back.
 *
 * Data goes through the relay until the peer has answered, at some address, a ping as large as data can be: nobody can
 * make us send data where the peer is not, and a path that loses large packets is not taken. Where a peer may be it
 * says itself, in a `call` that goes through the relay; these addresses, and those that its pings come from, are pinged.
 * All this is done for peers with traffic only. Where the relay is away, the last address that answered is used.
 *
 * Probes have been opened by the peer's key when they come here. They may be old ones, sent again by somebody: then an
 * answer goes to wherever that one is, which is of no use to him, and nothing else happens.
 */
export class Paths {
  readonly #around: Situation;
  readonly #rules: PathRules;
  readonly #peers = new Map<NodeId, PeerPath>();
  readonly #deadlines = new Deadlines<PeerPath>();
  readonly #events = new EventQueue<PathEvent>();
  #whyNoRelay = 'the hub was not reached yet';

  constructor({ crypto, inside, dataLength }: PathsOptions) {
    const tell = (event: PathEvent): void => this.#events.push(event);
    this.#around = { inside, own: [], ownKeys: new Set(), isComplete: false, hasRelay: false };
    this.#rules = new PathRules(this.#around, new PathProbes(crypto, dataLength, tell), tell);
  }

  poll(): PathEvent | undefined {
    return this.#events.poll();
  }

  nextTimeout(): number {
    return this.#deadlines.next();
  }

  // What is known.

  /** @param stored where it answered last, if that is known */
  addPeer(id: NodeId, stored: Endpoint | undefined, now: number): void {
    const peer = new PeerPath(id);
    this.#peers.set(id, peer);
    this.#rules.begin(peer, stored, now);
  }

  removePeer(id: NodeId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#peers.delete(id);
    this.#deadlines.delete(peer);
    for (const { token } of peer.asked) this.#events.push({ kind: 'answer', token, rtt: undefined });
  }

  /**
   * Where this node may be reached: `ownCandidates`. When that has changed, all who matter are told.
   *
   * @param isComplete whether the address that the relay sees is among them, if it sees any: until then no peer can have
   *   opened its NAT for us
   */
  setOwn(candidates: readonly Endpoint[], isComplete: boolean, now: number): void {
    const { ownKeys } = this.#around;
    const wasComplete = this.#around.isComplete;
    this.#around.isComplete = isComplete;
    const keys = new Set(candidates.map(endpointKey));
    if (keys.size === ownKeys.size && [...keys].every((key) => ownKeys.has(key))) {
      if (isComplete && !wasComplete) this.#forAll((peer) => this.#rules.ownCompleted(peer, now), now);
      return;
    }
    this.#around.own = candidates;
    this.#around.ownKeys = keys;
    this.#forAll((peer) => this.#rules.ownChanged(peer, now), now);
  }

  /**
   * What is routed into the tunnel: nobody is reached directly at an address in there, for that datagram would go into
   * the tunnel, come out of it as one that is to go to the same place, and so on.
   *
   * @param inside the network's own ranges, and the shared networks that are used
   */
  setInside(inside: readonly Cidr[], now: number): void {
    this.#around.inside = inside;
    this.#forAll((peer) => this.#rules.insideChanged(peer, now), now);
  }

  /** @param why there is none, in words */
  setRelay(usable: boolean, why: string, now: number): void {
    this.#whyNoRelay = why;
    if (usable === this.#around.hasRelay) return;
    this.#around.hasRelay = usable;
    this.#forAll((peer) => this.#rules.relayChanged(peer, now), now);
  }

  /** The relay is somewhere else: tells again who is to be reached through it. */
  retellRelayed(): void {
    for (const peer of this.#peers.values())
      if (peer.kind === 'relayed') this.#events.push({ kind: 'use', peer: peer.id, endpoint: undefined });
  }

  // What happens.

  /** Packets of data have gone to or come from the peer. */
  handleActivity(id: NodeId, now: number): void {
    this.#for(id, (peer) => this.#rules.handleActivity(peer, now), now);
  }

  /** Packets of data go to the peer, and none come back: it may be the path, or the peer. */
  handleSilence(id: NodeId, now: number): void {
    this.#for(id, (peer) => this.#rules.handleSilence(peer, now), now);
  }

  /** Pings a peer on its present path, and looks for a better one. The event `answer` follows, with this token. */
  ping(id: NodeId, token: number, now: number): void {
    if (this.#peers.has(id)) this.#for(id, (peer) => this.#rules.ask(peer, token, now), now);
    else this.#events.push({ kind: 'answer', token, rtt: undefined });
  }

  /** A probe that a peer's key has opened. */
  handleProbe(id: NodeId, probe: Probe, from: ProbeSource, now: number): void {
    this.#for(
      id,
      (peer) => {
        if (probe.type === 'ping') this.#rules.handlePing(peer, probe.transaction, from, now);
        else if (probe.type === 'pong') this.#rules.handlePong(peer, mapKey(probe.transaction), from, now);
        else this.#rules.handleCall(peer, probe, now);
      },
      now,
    );
  }

  /** @param limit how many peers to see to at most */
  handleTimeout(now: number, limit = Infinity): void {
    for (let i = 0; i < limit; i++) {
      const peer = this.#deadlines.due(now);
      if (peer === undefined) return;
      this.#rules.expire(peer, now);
      this.#schedule(peer, now);
    }
  }

  // What is to be shown, or kept.

  /** @param wallOffset what is to be added to `now` to get milliseconds since 1970 */
  status(id: NodeId, now: number, wallOffset: number): PathStatus | undefined {
    const peer = this.#peers.get(id);
    if (peer === undefined) return undefined;
    const whyNoRelay = this.#around.hasRelay ? undefined : this.#whyNoRelay;
    const used = peer.current ?? (peer.kind === 'relayed' ? peer.relay : undefined);
    return {
      kind: peer.kind,
      ...(peer.current === undefined ? {} : { endpoint: formatEndpoint(peer.current.endpoint!) }),
      why: explainPath(peer, peer.isActive(now), whyNoRelay),
      ...(used?.rtt === undefined ? {} : { rttMs: used.rtt }),
      since: peer.since + wallOffset,
    };
  }

  /** Those with traffic a moment ago, the last ones first. */
  active(now: number): NodeId[] {
    const peers = [...this.#peers.values()].filter((peer) => peer.isActive(now));
    return peers.sort((a, b) => b.activeUntil - a.activeUntil).map(({ id }) => id);
  }

  isRelayed(id: NodeId): boolean {
    return this.#peers.get(id)?.kind === 'relayed';
  }

  /** Where a peer answered last. */
  lastEndpoint(id: NodeId): Endpoint | undefined {
    return this.#peers.get(id)?.last?.endpoint;
  }

  /** Does something to a peer, if it is known. */
  #for(id: NodeId, act: (peer: PeerPath) => void, now: number): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    act(peer);
    this.#schedule(peer, now);
  }

  #forAll(act: (peer: PeerPath) => void, now: number): void {
    for (const peer of this.#peers.values()) {
      act(peer);
      this.#schedule(peer, now);
    }
  }

  #schedule(peer: PeerPath, now: number): void {
    this.#deadlines.set(peer, this.#rules.deadline(peer, now));
  }
}
