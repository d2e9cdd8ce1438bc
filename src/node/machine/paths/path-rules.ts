import type { Cidr } from '../../../ip/cidr.js';
import { type Endpoint, formatEndpoint } from '../../../ip/endpoint.js';
import type { Probe } from '../../../protocol/probe.js';
import { mapKey } from '../../../wireguard/crypto.js';
import { endpointKey, isUsable } from './candidates.js';
import type { PathEvent, ProbeSource } from './path-events.js';
import { OPEN_TIME, type PathProbes } from './path-probes.js';
import { type Candidate, isBetter, type PeerPath } from './peer-path.js';

/** Milliseconds. After so long without traffic nobody is served by a direct path. */
export const ACTIVE_TIME = 120_000;
/** A probe of the peer's is a hint that it has traffic for us. */
const HINT_TIME = 10_000;
/** While packets flow, and so long after the last one, the path is watched closely. */
const BUSY_TIME = 10_000;
/** From one ping to the next on the path in use. */
const HEARTBEAT = { busy: 2_000, idle: 15_000 } as const;
/** An answer that takes longer is none yet. */
const PING_TIMEOUT = 1_000;
/** The same where packets go out and none come back: three times what an answer takes, and at least that. */
const QUICK_TIMEOUT = 400;
/** An answer that is no older still says that the path is good. */
const FRESH = 1_000;
/** So many unanswered ones, and the path is given up. */
const LOST_AFTER = 3;
/** Somebody waits for the answer: give it more time. */
const ASKED_TIMEOUT = 2_000;
/**
 * When to look for a direct path again: after each try in vain. The last one for ever. The last two are longer than Linux
 * remembers a packet that nobody has answered, 30 s: what has made a router give us another port is forgotten then.
 */
const BACKOFF = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 35_000, 60_000] as const;
/**
 * How many routers a ping passes that is only to open our own NAT: one behind us. With these in turn after each of the
 * long pauses, also where there are more.
 */
const OPENER_HOPS = [2, 3, 4] as const;
/** While there is one, a better one is looked for. */
const BETTER_INTERVAL = 60_000;
/** An endpoint that pings us is pinged back, but not if it has just answered: or both would never stop. */
const ANSWERS_FOR = 5_000;

type Call = Extract<Probe, { readonly type: 'call' | 'opened' }>;

/** What is the same for the paths to all peers. `Paths` keeps it. */
export interface Situation {
  /** What is routed into the tunnel: nobody is reached directly at an address in there. */
  inside: readonly Cidr[];
  /** Where this node may be reached. */
  own: readonly Endpoint[];
  /** The same, by `endpointKey`. */
  ownKeys: ReadonlySet<string>;
  /** Whether none is missing: see `Paths.setOwn`. */
  isComplete: boolean;
  hasRelay: boolean;
}

/**
 * The rules by which the path to one peer is chosen, left and watched. After any of these `deadline` may be another.
 *
 * How NATs are passed. A ping that comes to a router before the host behind it has sent something to where the ping is
 * from does harm on plain Linux: the router takes it for its own, and as long as it remembers it that host's packets to
 * there leave by another port, where the peer does not look for them. So whoever is called sends pings first that pass
 * its own router and die behind it, and says that it has `opened`, in answer to this call; only then is it pinged, and told
 * the same. An `opened` counts only if its call named every address that we have now: the peer's NAT may not be open for
 * the one that our pings come from. Where there is no relay by which to say so, pings must do without.
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

  /** When the peer wants `expire`. */
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

  // What changes around it.

  /** @param stored where it answered last, if that is known */
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

  /** Tries again: answers so far did not count. Not during the long pauses, in which routers are to forget. */
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

  // What happens.

  /** Packets of data have gone to or come from it. */
  handleActivity(peer: PeerPath, now: number): void {
    const wasActive = peer.isActive(now);
    peer.activeUntil = now + ACTIVE_TIME;
    peer.busyUntil = now + BUSY_TIME;
    if (!wasActive) peer.lookSoon(now);
  }

  /** Packets of data go to it, and none come back. */
  handleSilence(peer: PeerPath, now: number): void {
    const { current } = peer;
    if (current === undefined || now < current.answeredAt + FRESH) return;
    current.isHurried = true;
    if (!current.waiting) this.#probes.ping(peer, current, true, now);
  }

  /** Somebody wants to know how it is reached: the answer will bear the token. */
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
    // Also when one is under way: it may have met a NAT that the peer's has opened only now.
    if (candidate === peer.current || now < candidate.answeredAt + ANSWERS_FOR) return;
    if (candidate.backs.take(now)) this.#probes.ping(peer, candidate, false, now);
  }

  handlePong(peer: PeerPath, transaction: string, from: ProbeSource, now: number): void {
    const candidate = from.relayPeer === 0 ? peer.candidates.get(endpointKey(from.remote)) : peer.relay;
    const ping = candidate?.answered(transaction);
    if (candidate === undefined || ping === undefined) return; // an old one, or not from where we asked
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
    else if (longPauses(peer) > 0 && peer.current === undefined) this.#tried(peer, now); // or the pause would be cut short
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

  // What follows.

  /** The peer seems to have something for us. */
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

  /** The peer has no direct path, or no more: the relay, or else where it was last. */
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

  /** No pings without traffic: a NAT forgets the path then, and so do we, if there is a relay. */
  #goIdle(peer: PeerPath, now: number): void {
    peer.nextVolley = Infinity;
    peer.volleys = 0;
    if (peer.current === undefined || !this.#around.hasRelay) return;
    peer.current = undefined;
    this.#withoutDirect(peer, now);
  }

  /** Says where we are, and asks everywhere whether the peer is there. */
  #volley(peer: PeerPath, now: number): void {
    peer.isCalling = true;
    this.#call(peer);
    if (this.#around.hasRelay && !peer.relay.waiting) this.#probes.ping(peer, peer.relay, false, now);
    this.#probes.pingAll(peer, now, this.#hops(peer, now));
    this.#tried(peer, now);
  }

  /** A direct path was looked for, by us or by the peer or by both at once, and will be again. */
  #tried(peer: PeerPath, now: number): void {
    if (now >= peer.triedAt + BACKOFF[0]) peer.volleys += 1;
    peer.triedAt = now;
    const pause = BACKOFF[Math.min(Math.max(peer.volleys, 1), BACKOFF.length) - 1]!;
    peer.nextVolley = now + (peer.current === undefined ? pause : BETTER_INTERVAL);
  }

  /** How far pings may go that nobody is known to wait for; undefined: all the way. */
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

/** How many of the long pauses there were since a direct path is looked for. */
const longPauses = ({ volleys }: PeerPath): number => Math.max(0, volleys - BACKOFF.length + 2);

/** How long an answer may take, milliseconds. */
const patience = ({ isHurried, rtt = 0 }: Candidate): number =>
  isHurried ? Math.min(PING_TIMEOUT, Math.max(QUICK_TIMEOUT, 3 * rtt)) : PING_TIMEOUT;

const heartbeat = (peer: PeerPath, now: number): number =>
  now < peer.busyUntil ? HEARTBEAT.busy : HEARTBEAT.idle;
