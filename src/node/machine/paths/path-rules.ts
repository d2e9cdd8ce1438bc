import type { Cidr } from '../../../ip/cidr.js';
import { type Endpoint, formatEndpoint } from '../../../ip/endpoint.js';
import type { Probe } from '../../../protocol/probe.js';
import { mapKey } from '../../../wireguard/crypto.js';
import { endpointKey, isUsable } from './candidates.js';
import type { PathEvent, ProbeSource } from './path-events.js';
import { OPEN_TIME, type PathProbes } from './path-probes.js';
import { type Candidate, isBetter, type PeerPath } from './peer-path.js';

/** How long a peer stays active after its last packet, milliseconds. */
export const ACTIVE_TIME = 120_000;
/** The same after a probe from the peer, which hints at traffic. */
const HINT_TIME = 10_000;
/** How long after the last packet the path is watched closely. */
const BUSY_TIME = 10_000;
/** The interval of pings on the path in use. */
const HEARTBEAT = { busy: 2_000, idle: 15_000 } as const;
/** When a ping counts as unanswered. */
const PING_TIMEOUT = 1_000;
/** The same on a silent path: three round-trip times, and at least this. */
const QUICK_TIMEOUT = 400;
/** An answer this recent shows that the path works. */
const FRESH = 1_000;
/** How many unanswered pings end a path. */
const LOST_AFTER = 3;
/** When a user's ping counts as unanswered. */
const ASKED_TIMEOUT = 2_000;
/**
 * The pause after each unsuccessful search for a direct path; the last one repeats. The last two are longer than Linux
 * tracks an unanswered packet, 30 s. So routers forget what made them assign this node another port.
 */
const BACKOFF = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 35_000, 60_000] as const;
/**
 * How many routers a ping may reach if it only opens this node's own NAT: this node's router, and the next one, which drops
 * it. After each long pause the next number is used, in case this node is behind more routers.
 */
const OPENER_HOPS = [2, 3, 4] as const;
/** How often to search for a better path than the one in use. */
const BETTER_INTERVAL = 60_000;
/** A pinging endpoint is pinged back, but not if it answered this recently: otherwise both sides would never stop. */
const ANSWERS_FOR = 5_000;

type Call = Extract<Probe, { readonly type: 'call' | 'opened' }>;

/** What all paths depend on. `Paths` keeps it up to date. */
export interface Situation {
  /** What is routed into the tunnel: no endpoint in there is used. */
  inside: readonly Cidr[];
  /** This node's candidates. */
  own: readonly Endpoint[];
  /** The same, by `endpointKey`. */
  ownKeys: ReadonlySet<string>;
  /** Whether they are complete: see `Paths.setOwn`. */
  isComplete: boolean;
  hasRelay: boolean;
}

/**
 * The rules that choose, watch and leave the path to one peer. Any call may change `deadline`.
 *
 * How NATs are traversed. A ping does harm if it reaches a plain Linux router before the host behind it has sent anything
 * to the ping's source: the router tracks it as a connection of its own. As long as it does, packets of that host to the
 * source leave from another port, which the peer does not know. So a called node first sends pings that pass
 * its own router and die behind it. Then it answers the call with `opened`. Only then is it pinged, and told the same. An
 * `opened` counts only if its call listed all present candidates: the peer's NAT may not be open for the one that the
 * pings come from. Without a relay there is no `opened`, and pings go all the way.
 */
export class PathRules {
  readonly #around: Readonly<Situation>;
  readonly #probes: PathProbes;
  readonly #tell: (event: PathEvent) => void;

  constructor(around: Readonly<Situation>, probes: PathProbes, tell: (event: PathEvent) => void) {
    this.#around = around;
    this.#probes = probes;
    this.#tell = tell;
  }

  /** When to call `expire`. */
  deadline(peer: PeerPath, now: number): number {
    let next = peer.asked[0] === undefined ? Infinity : peer.asked[0].sentAt + ASKED_TIMEOUT;
    for (const candidate of peer.all())
      if (candidate.waiting) next = Math.min(next, candidate.sentAt + patience(candidate));
    if (peer.isActive(now)) {
      const { current } = peer;
      next = Math.min(next, peer.nextVolley, peer.activeUntil);
      if (current !== undefined && !current.waiting)
        next = Math.min(next, current.sentAt + heartbeat(peer, now));
    } else if (peer.current !== undefined && this.#around.hasRelay) {
      next = now;
    }
    return next;
  }

  // Changes of the situation.

  /** @param stored the peer's last endpoint, if known */
  begin(peer: PeerPath, stored: Endpoint | undefined, now: number): void {
    peer.since = now;
    if (stored !== undefined && isUsable(stored, this.#around.inside)) peer.last = peer.addStored(stored);
    this.#withoutDirect(peer, now);
  }

  ownChanged(peer: PeerPath, now: number): void {
    peer.forgetTold();
    if (!peer.isActive(now)) return;
    peer.lookSoon(now);
    if (peer.current !== undefined && !peer.current.waiting) this.#probes.ping(peer, peer.current, true, now);
  }

  /** Searches again: earlier answers did not count. Not during the long pauses, in which routers must forget. */
  ownCompleted(peer: PeerPath, now: number): void {
    if (peer.isActive(now) && peer.current === undefined && longPauses(peer) === 0) peer.nextVolley = now;
  }

  insideChanged(peer: PeerPath, now: number): void {
    const { current } = peer;
    if (!peer.drop((endpoint) => !isUsable(endpoint, this.#around.inside))) return;
    if (peer.current === undefined) this.#withoutDirect(peer, now);
    if (current !== peer.current && peer.isActive(now)) peer.lookSoon(now);
  }

  relayChanged(peer: PeerPath, now: number): void {
    peer.relay.unanswered = 0;
    if (this.#around.hasRelay && peer.current !== undefined && !peer.isActive(now)) peer.current = undefined;
    if (peer.current === undefined) this.#withoutDirect(peer, now);
    if (peer.isActive(now)) peer.lookSoon(now);
  }

  // Events.

  /** Data went to the peer or came from it. */
  handleActivity(peer: PeerPath, now: number): void {
    const wasActive = peer.isActive(now);
    peer.activeUntil = now + ACTIVE_TIME;
    peer.busyUntil = now + BUSY_TIME;
    if (!wasActive) peer.lookSoon(now);
  }

  /** Data goes to the peer, and nothing comes back. */
  handleSilence(peer: PeerPath, now: number): void {
    const { current } = peer;
    if (current === undefined || now < current.answeredAt + FRESH) return;
    current.isHurried = true;
    if (!current.waiting) this.#probes.ping(peer, current, true, now);
  }

  /** A user pings the peer. */
  ask(peer: PeerPath, token: number, now: number): void {
    const wasActive = peer.isActive(now);
    peer.activeUntil = Math.max(peer.activeUntil, now + HINT_TIME);
    const candidate = peer.current ?? (this.#around.hasRelay ? peer.relay : (peer.last ?? peer.relay));
    const transaction = this.#probes.ping(peer, candidate, candidate !== peer.relay, now);
    peer.asked.push({ token, candidate, transaction, sentAt: now });
    if (!wasActive) peer.lookSoon(now);
  }

  handlePing(peer: PeerPath, transaction: Uint8Array, from: ProbeSource, now: number): void {
    if (!this.#probes.pong(peer, transaction, from, now)) return;
    if (from.relayPeer !== 0 || !isUsable(from.remote, this.#around.inside)) return;
    const candidate = peer.addSeen(from.remote);
    if (candidate === undefined) return;
    candidate.heardAt = now;
    this.#hint(peer, now);
    // Even with a pending ping: it may have reached a NAT that only the peer's ping has opened.
    if (candidate === peer.current || now < candidate.answeredAt + ANSWERS_FOR) return;
    if (candidate.backs.take(now)) this.#probes.ping(peer, candidate, false, now);
  }

  handlePong(peer: PeerPath, transaction: string, from: ProbeSource, now: number): void {
    const candidate = from.relayPeer === 0 ? peer.candidates.get(endpointKey(from.remote)) : peer.relay;
    const ping = candidate?.answered(transaction);
    if (candidate === undefined || ping === undefined) return; // an old pong, or from another endpoint
    const rtt = now - ping.sentAt;
    candidate.measured(rtt, now);
    this.#tellAsked(peer, transaction, rtt);
    if (candidate === peer.relay) return;
    if (!ping.large) {
      if (candidate !== peer.current && peer.isActive(now)) this.#probes.ping(peer, candidate, true, now);
      return;
    }
    candidate.unansweredLarge = 0;
    candidate.narrow = false;
    if (peer.current === undefined || isBetter(candidate, peer.current)) this.#adopt(peer, candidate, now);
  }

  handleCall(peer: PeerPath, call: Call, now: number): void {
    const { inside, ownKeys, isComplete } = this.#around;
    const usable = call.addresses.filter(
      (endpoint) => isUsable(endpoint, inside) && !ownKeys.has(endpointKey(endpoint)),
    );
    const hasMoved = peer.setCalled(usable);
    this.#hint(peer, now);
    if (call.type === 'opened') {
      if (!isComplete || !peer.wasTold(mapKey(call.answers))) return;
      peer.openUntil = now + OPEN_TIME;
    } else if (hasMoved) {
      peer.openUntil = -Infinity;
    }
    if (!peer.followed[call.type].take(now)) return;
    this.#probes.pingAll(peer, now, this.#hops(peer, now));
    if (call.type === 'call' || peer.isCalling) this.#call(peer, call.transaction);
    if (call.type === 'opened') peer.isCalling = false;
    else if (longPauses(peer) > 0 && peer.current === undefined) this.#tried(peer, now); // the long pause starts again
  }

  expire(peer: PeerPath, now: number): void {
    while (peer.asked[0] !== undefined && now >= peer.asked[0].sentAt + ASKED_TIMEOUT)
      this.#tell({ kind: 'answer', token: peer.asked.shift()!.token, rtt: undefined });
    for (const candidate of peer.all()) {
      if (candidate.waiting && now >= candidate.sentAt + patience(candidate))
        this.#unanswered(peer, candidate, now);
    }
    if (!peer.isActive(now)) {
      this.#goIdle(peer, now);
      return;
    }
    const { current } = peer;
    if (current !== undefined && !current.waiting && now >= current.sentAt + heartbeat(peer, now))
      this.#probes.ping(peer, current, true, now);
    if (now >= peer.nextVolley) this.#volley(peer, now);
  }

  // Actions.

  /** The peer seems to have traffic for this node. */
  #hint(peer: PeerPath, now: number): void {
    const wasActive = peer.isActive(now);
    peer.activeUntil = Math.max(peer.activeUntil, now + HINT_TIME);
    if (!wasActive) peer.lookSoon(now);
  }

  #adopt(peer: PeerPath, candidate: Candidate, now: number): void {
    peer.current = candidate;
    peer.last = candidate;
    peer.lost = undefined;
    peer.volleys = 0;
    peer.nextVolley = now + BETTER_INTERVAL;
    this.#use(peer, 'direct', candidate.endpoint, now);
  }

  /** There is no direct path: uses the relay, or else the peer's last endpoint. */
  #withoutDirect(peer: PeerPath, now: number): void {
    if (this.#around.hasRelay) this.#use(peer, 'relayed', undefined, now);
    else this.#use(peer, 'none', peer.last?.endpoint, now);
  }

  #use(peer: PeerPath, kind: PeerPath['kind'], endpoint: Endpoint | undefined, now: number): void {
    if (kind !== peer.kind) peer.since = now;
    peer.kind = kind;
    if (kind === 'relayed' || endpoint !== undefined) this.#tell({ kind: 'use', peer: peer.id, endpoint });
  }

  #unanswered(peer: PeerPath, candidate: Candidate, now: number): void {
    const large = candidate.pings.at(-1)?.large ?? false;
    candidate.waiting = false;
    candidate.unanswered += 1;
    if (large) candidate.unansweredLarge += 1;
    if (candidate === peer.current) {
      if (candidate.unanswered >= LOST_AFTER) this.#lose(peer, candidate, now);
      else this.#probes.ping(peer, candidate, true, now);
    } else if (large) {
      if (candidate.unansweredLarge < LOST_AFTER) this.#probes.ping(peer, candidate, true, now);
      else candidate.narrow = true;
    }
  }

  #lose(peer: PeerPath, candidate: Candidate, now: number): void {
    peer.current = undefined;
    peer.lost = formatEndpoint(candidate.endpoint!);
    candidate.rtt = undefined;
    candidate.isHurried = false;
    candidate.unansweredLarge = 0;
    this.#withoutDirect(peer, now);
    peer.lookSoon(now);
  }

  /** Without traffic there are no pings. NATs forget the path, so it is dropped if there is a relay. */
  #goIdle(peer: PeerPath, now: number): void {
    peer.nextVolley = Infinity;
    peer.volleys = 0;
    if (peer.current === undefined || !this.#around.hasRelay) return;
    peer.current = undefined;
    this.#withoutDirect(peer, now);
  }

  /** Calls the peer, and pings all its candidates. */
  #volley(peer: PeerPath, now: number): void {
    peer.isCalling = true;
    this.#call(peer);
    if (this.#around.hasRelay && !peer.relay.waiting) this.#probes.ping(peer, peer.relay, false, now);
    this.#probes.pingAll(peer, now, this.#hops(peer, now));
    this.#tried(peer, now);
  }

  /** One side or both have searched for a direct path: schedules the next search. */
  #tried(peer: PeerPath, now: number): void {
    if (now >= peer.triedAt + BACKOFF[0]) peer.volleys += 1;
    peer.triedAt = now;
    const pause = BACKOFF[Math.min(Math.max(peer.volleys, 1), BACKOFF.length) - 1]!;
    peer.nextVolley = now + (peer.current === undefined ? pause : BETTER_INTERVAL);
  }

  /** How many routers a ping may reach; undefined, unlimited, if the peer's NAT is open. */
  #hops(peer: PeerPath, now: number): number | undefined {
    if (!this.#around.hasRelay || now < peer.openUntil) return undefined;
    return OPENER_HOPS[longPauses(peer) % OPENER_HOPS.length];
  }

  /** @param answers see `PathProbes.call` */
  #call(peer: PeerPath, answers?: Uint8Array): void {
    const { own, hasRelay } = this.#around;
    if (own.length === 0 || (!hasRelay && peer.current === undefined)) return;
    this.#probes.call(peer, own, hasRelay ? undefined : peer.current!.endpoint, answers);
  }

  #tellAsked(peer: PeerPath, transaction: string, rtt: number): void {
    const at = peer.asked.findIndex((asked) => asked.transaction === transaction);
    if (at < 0) return;
    const [asked] = peer.asked.splice(at, 1);
    this.#tell({ kind: 'answer', token: asked!.token, rtt });
  }
}

/** How many long pauses there were in this search. */
const longPauses = ({ volleys }: PeerPath): number => Math.max(0, volleys - BACKOFF.length + 2);

/** When a ping counts as unanswered, milliseconds after it was sent. */
const patience = ({ isHurried, rtt = 0 }: Candidate): number =>
  isHurried ? Math.min(PING_TIMEOUT, Math.max(QUICK_TIMEOUT, 3 * rtt)) : PING_TIMEOUT;

const heartbeat = (peer: PeerPath, now: number): number =>
  now < peer.busyUntil ? HEARTBEAT.busy : HEARTBEAT.idle;
