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
  /** The network's ranges; see `setInside`. */
  readonly inside: readonly Cidr[];
  /** The longest datagram of data, bytes: what a direct path must carry. */
  readonly dataLength: number;
}

/**
 * Chooses the path to every peer: the relay, or an endpoint at which the peer answers. Sans-I/O.
 *
 * Contract. After every call take all of `poll()`, and call `handleTimeout` when `nextTimeout()` comes. `now` is in
 * milliseconds, of a clock that never goes back.
 *
 * Data goes through the relay until the peer has answered, at some endpoint, a ping as large as data can be. So nobody can
 * direct data to a place without the peer, and a path that loses large packets is not used. A peer announces its
 * candidates in a `call` through the relay. These, and the endpoints that its pings come from, are pinged. All this
 * happens only for peers with traffic. Without a relay, the last endpoint that answered is used.
 *
 * Probes arrive here decrypted. An attacker may replay an old one: the answer then goes to the attacker, who learns
 * nothing from it, and nothing else happens.
 */
export class Paths {
  readonly #around: Situation;
  readonly #rules: PathRules;
  readonly #peers = new Map<NodeId, PeerPath>();
  readonly #deadlines = new Deadlines<PeerPath>();
  readonly #events = new EventQueue<PathEvent>();
  #whyNoRelay = 'the hub has not been reached yet';

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

  // What the paths depend on.

  /** @param stored the peer's last endpoint, if known */
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
   * Sets this node's candidates, from `ownCandidates`. After a change, active peers are called again.
   *
   * @param isComplete whether they include the endpoint that the relay sees, if it sees any: until then no peer can have
   *   opened its NAT for this node
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
   * Sets what is routed into the tunnel. No endpoint in there is used: a datagram to it would enter the tunnel, and become
   * another datagram to the same endpoint.
   *
   * @param inside the network's own ranges and the routed shares
   */
  setInside(inside: readonly Cidr[], now: number): void {
    this.#around.inside = inside;
    this.#forAll((peer) => this.#rules.insideChanged(peer, now), now);
  }

  /** Call this also when the relay moves: announces relayed peers again. @param why there is no relay, for people */
  setRelay(usable: boolean, why: string, now: number): void {
    this.#whyNoRelay = why;
    if (usable !== this.#around.hasRelay) {
      this.#around.hasRelay = usable;
      this.#forAll((peer) => this.#rules.relayChanged(peer, now), now);
    }
    if (!usable) return;
    for (const peer of this.#peers.values())
      if (peer.kind === 'relayed') this.#events.push({ kind: 'use', peer: peer.id, endpoint: undefined });
  }

  // Events.

  /** Data went to the peer or came from it. */
  handleActivity(id: NodeId, now: number): void {
    this.#for(id, (peer) => this.#rules.handleActivity(peer, now), now);
  }

  /** Data goes to the peer, and nothing comes back: the path or the peer may be dead. */
  handleSilence(id: NodeId, now: number): void {
    this.#for(id, (peer) => this.#rules.handleSilence(peer, now), now);
  }

  /** Pings a peer on its present path, and searches for a better one. The event `answer` follows, with this token. */
  ping(id: NodeId, token: number, now: number): void {
    if (this.#peers.has(id)) this.#for(id, (peer) => this.#rules.ask(peer, token, now), now);
    else this.#events.push({ kind: 'answer', token, rtt: undefined });
  }

  /** A probe arrived, encrypted with the peer's key. */
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

  /** @param limit the most peers to handle */
  handleTimeout(now: number, limit = Infinity): void {
    for (let i = 0; i < limit; i++) {
      const peer = this.#deadlines.due(now);
      if (peer === undefined) return;
      this.#rules.expire(peer, now);
      this.#schedule(peer, now);
    }
  }

  // State.

  /** @param wallOffset add this to `now` to get milliseconds since 1970 */
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

  /** The peers with recent traffic, the latest first. */
  active(now: number): NodeId[] {
    const peers = [...this.#peers.values()].filter((peer) => peer.isActive(now));
    return peers.sort((a, b) => b.activeUntil - a.activeUntil).map(({ id }) => id);
  }

  isRelayed(id: NodeId): boolean {
    return this.#peers.get(id)?.kind === 'relayed';
  }

  /** The last endpoint at which a peer answered. */
  lastEndpoint(id: NodeId): Endpoint | undefined {
    return this.#peers.get(id)?.last?.endpoint;
  }

  /** Acts on a peer, if it is known. */
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
