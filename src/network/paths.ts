import type { Cidr } from '../ip/cidr.js';
import { type Endpoint, formatEndpoint } from '../linux/socket-address.js';
import type { Probe, ProbeAddress } from '../wire/probe.js';
import { type Crypto, mapKey } from '../wireguard/crypto.js';
import { Deadlines } from '../wireguard/deadlines.js';
import { endpointKey, isUsable } from './candidates.js';
import type { PathStatus } from './control.js';
import { explainPath } from './path-text.js';
import { type Candidate, isBetter, PeerPath } from './peer-path.js';

/** Where a probe came from: `PeerEndpoint` of the tunnel, or whatever else its owner will send the answer back to. */
export interface ProbeSource {
  readonly remote: Endpoint;
  /** Not 0: through the relay, and then `remote` is that. */
  readonly relayPeer: number;
}

export type PathEvent =
  | {
      readonly kind: 'probe';
      readonly peer: number;
      readonly probe: Probe;
      /** Undefined: through the relay. */
      readonly to: Endpoint | undefined;
      /** Of an answer: what it answers came from here. */
      readonly back?: ProbeSource;
    }
  /** Send data there from now on. Undefined: through the relay. */
  | { readonly kind: 'use'; readonly peer: number; readonly endpoint: Endpoint | undefined }
  /** What somebody asked for by `ping`; without `rtt` there was no answer in time. */
  | { readonly kind: 'answer'; readonly token: number; readonly rtt: number | undefined };

/** Milliseconds. After so long without traffic nobody is served by a direct path. */
export const ACTIVE_TIME = 120_000;
/** A probe of the peer's is a hint that it has traffic for us. */
const HINT_TIME = 10_000;
/** While packets flow, and so long after the last one, the path is watched closely. */
const BUSY_TIME = 10_000;
/** From one ping to the next on the path in use. */
const HEARTBEAT = { busy: 2_000, idle: 15_000 } as const;
/** An answer that takes longer is none yet. */
export const PING_TIMEOUT = 1_000;
/** The same where packets go out and none come back: three times what an answer takes, and at least that. */
const QUICK_TIMEOUT = 400;
/** An answer that is no older still says that the path is good. */
const FRESH = 1_000;
/** So many unanswered ones, and the path is given up. */
const LOST_AFTER = 3;
/** Somebody waits for the answer: give it more time. */
const ASKED_TIMEOUT = 2_000;
/** When to look for a direct path again: after each try in vain. The last one for ever. */
const BACKOFF = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 60_000] as const;
/** While there is one, a better one is looked for. */
const BETTER_INTERVAL = 60_000;
/** Bytes: as long as a pong, so that nobody gets more by a ping than it cost to send it. */
const SMALL_PING = 80;
/** A peer's calls are followed no faster than that, and answered with one of ours. */
const CALL_INTERVAL = 1_000;
const CALL_BACK_INTERVAL = 3_000;
/** A place that pings us is pinged so often in a second, and not if it has just answered: or both would never stop. */
const PING_BACKS = 2;
const ANSWERS_FOR = 5_000;
/** Answers to a peer's pings: a second, and at once. */
const PONG_RATE = 20;
const PONG_BURST = 40;

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
  readonly #crypto: Pick<Crypto, 'random'>;
  #inside: readonly Cidr[];
  readonly #dataLength: number;
  readonly #peers = new Map<number, PeerPath>();
  readonly #deadlines = new Deadlines<PeerPath>();
  readonly #events: PathEvent[] = [];
  #nextEvent = 0;
  #own: readonly Endpoint[] = [];
  #ownKeys = new Set<string>();
  #hasRelay = false;
  #whyNoRelay = 'the hub was not reached yet';
  #nextToken = 1;

  constructor({ crypto, inside, dataLength }: PathsOptions) {
    this.#crypto = crypto;
    this.#inside = inside;
    this.#dataLength = dataLength;
  }

  poll(): PathEvent | undefined {
    const event = this.#events[this.#nextEvent++];
    if (event === undefined) {
      this.#events.length = 0;
      this.#nextEvent = 0;
    }
    return event;
  }

  nextTimeout(): number {
    return this.#deadlines.next();
  }

  // What is known.

  /** @param stored where it answered last, if that is known */
  addPeer(id: number, stored: Endpoint | undefined, now: number): void {
    const peer = new PeerPath(id);
    this.#peers.set(id, peer);
    peer.since = now;
    if (stored !== undefined && isUsable(stored, this.#inside)) peer.last = peer.addStored(stored);
    this.#withoutDirect(peer, now);
  }

  removePeer(id: number): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#peers.delete(id);
    this.#deadlines.delete(peer);
    for (const { token } of peer.asked) this.#events.push({ kind: 'answer', token, rtt: undefined });
  }

  /** Where this node may be reached: `ownCandidates`. When that has changed, all who matter are told. */
  setOwn(candidates: readonly Endpoint[], now: number): void {
    const keys = new Set(candidates.map(endpointKey));
    if (keys.size === this.#ownKeys.size && [...keys].every((key) => this.#ownKeys.has(key))) return;
    this.#own = candidates;
    this.#ownKeys = keys;
    for (const peer of this.#peers.values()) {
      if (!this.#isActive(peer, now)) continue;
      this.#lookSoon(peer, now);
      if (peer.current !== undefined && !peer.current.waiting) this.#ping(peer, peer.current, true, now);
      this.#schedule(peer, now);
    }
  }

  /**
   * What is routed into the tunnel: nobody is reached directly at an address in there, for that datagram would go into
   * the tunnel, come out of it as one that is to go to the same place, and so on.
   *
   * @param inside the network's own ranges, and the shared networks that are used
   */
  setInside(inside: readonly Cidr[], now: number): void {
    this.#inside = inside;
    for (const peer of this.#peers.values()) {
      const { current } = peer;
      if (!peer.drop((endpoint) => !isUsable(endpoint, inside))) continue;
      if (peer.current === undefined) this.#withoutDirect(peer, now);
      if (current !== peer.current && this.#isActive(peer, now)) this.#lookSoon(peer, now);
      this.#schedule(peer, now);
    }
  }

  /** @param why there is none, in words */
  setRelay(usable: boolean, why: string, now: number): void {
    this.#whyNoRelay = why;
    if (usable === this.#hasRelay) return;
    this.#hasRelay = usable;
    for (const peer of this.#peers.values()) {
      peer.relay.unanswered = 0;
      if (usable && peer.current !== undefined && !this.#isActive(peer, now)) peer.current = undefined;
      if (peer.current === undefined) this.#withoutDirect(peer, now);
      if (this.#isActive(peer, now)) this.#lookSoon(peer, now);
      this.#schedule(peer, now);
    }
  }

  /** The relay is somewhere else: tells again who is to be reached through it. */
  retellRelayed(): void {
    for (const peer of this.#peers.values())
      if (peer.kind === 'relayed') this.#events.push({ kind: 'use', peer: peer.id, endpoint: undefined });
  }

  // What happens.

  /** Packets of data have gone to or come from the peer. */
  handleActivity(id: number, now: number): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    const wasActive = this.#isActive(peer, now);
    peer.activeUntil = now + ACTIVE_TIME;
    peer.busyUntil = now + BUSY_TIME;
    if (!wasActive) this.#lookSoon(peer, now);
    this.#schedule(peer, now);
  }

  /** Packets of data go to the peer, and none come back: it may be the path, or the peer. */
  handleSilence(id: number, now: number): void {
    const peer = this.#peers.get(id);
    const current = peer?.current;
    if (peer === undefined || current === undefined || now < current.answeredAt + FRESH) return;
    current.isHurried = true;
    if (!current.waiting) this.#ping(peer, current, true, now);
    this.#schedule(peer, now);
  }

  /**
   * Pings a peer on the path that it has, and looks for a better one.
   *
   * @returns what the `answer` will bear; undefined for a peer that is not known
   */
  ping(id: number, now: number): number | undefined {
    const peer = this.#peers.get(id);
    if (peer === undefined) return undefined;
    const token = this.#nextToken++;
    const wasActive = this.#isActive(peer, now);
    peer.activeUntil = Math.max(peer.activeUntil, now + HINT_TIME);
    const candidate = peer.current ?? (this.#hasRelay ? peer.relay : (peer.last ?? peer.relay));
    const transaction = this.#ping(peer, candidate, candidate !== peer.relay, now);
    peer.asked.push({ token, candidate, transaction, sentAt: now });
    if (!wasActive) this.#lookSoon(peer, now);
    this.#schedule(peer, now);
    return token;
  }

  /** A probe that a peer's key has opened. */
  handleProbe(id: number, probe: Probe, from: ProbeSource, now: number): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    switch (probe.type) {
      case 'ping':
        this.#handlePing(peer, probe.transaction, from, now);
        break;
      case 'pong':
        this.#handlePong(peer, mapKey(probe.transaction), from, now);
        break;
      case 'call':
        this.#handleCall(peer, probe.addresses, now);
        break;
    }
    this.#schedule(peer, now);
  }

  /** @param limit how many peers to see to at most */
  handleTimeout(now: number, limit = Infinity): void {
    for (let i = 0; i < limit; i++) {
      const peer = this.#deadlines.due(now);
      if (peer === undefined) return;
      this.#expire(peer, now);
      this.#schedule(peer, now);
    }
  }

  // What is to be shown, or kept.

  /** @param wallOffset what is to be added to `now` to get milliseconds since 1970 */
  status(id: number, now: number, wallOffset: number): PathStatus | undefined {
    const peer = this.#peers.get(id);
    if (peer === undefined) return undefined;
    const whyNoRelay = this.#hasRelay ? undefined : this.#whyNoRelay;
    const used = peer.current ?? (peer.kind === 'relayed' ? peer.relay : undefined);
    return {
      kind: peer.kind,
      ...(peer.current === undefined ? {} : { endpoint: formatEndpoint(peer.current.endpoint!) }),
      why: explainPath(peer, this.#isActive(peer, now), whyNoRelay),
      ...(used?.rtt === undefined ? {} : { rttMs: used.rtt }),
      since: peer.since + wallOffset,
    };
  }

  isRelayed(id: number): boolean {
    return this.#peers.get(id)?.kind === 'relayed';
  }

  /** Where a peer answered last. */
  lastEndpoint(id: number): Endpoint | undefined {
    return this.#peers.get(id)?.last?.endpoint;
  }

  // The rules.

  #isActive(peer: PeerPath, now: number): boolean {
    return now < peer.activeUntil;
  }

  #handlePing(peer: PeerPath, transaction: Uint8Array, from: ProbeSource, now: number): void {
    const refilled = peer.pongs + ((now - peer.pongsAt) * PONG_RATE) / 1000;
    peer.pongs = Math.min(PONG_BURST, refilled);
    peer.pongsAt = now;
    if (peer.pongs < 1) return;
    peer.pongs -= 1;
    const seen = from.relayPeer === 0 ? from.remote : undefined;
    const pong: Probe = { type: 'pong', transaction, from: seen };
    this.#events.push({ kind: 'probe', peer: peer.id, probe: pong, to: seen, back: from });
    if (seen === undefined || !isUsable(seen, this.#inside)) return;
    const candidate = peer.addSeen(seen);
    if (candidate === undefined) return;
    this.#hint(peer, now);
    // Also when one is under way: it may have met a NAT that the peer's has opened only now.
    if (candidate === peer.current || now < candidate.answeredAt + ANSWERS_FOR) return;
    if (now >= candidate.backsAt + 1_000) {
      candidate.backsAt = now;
      candidate.backs = 0;
    }
    if (candidate.backs++ < PING_BACKS) this.#ping(peer, candidate, false, now);
  }

  #handleCall(peer: PeerPath, candidates: readonly ProbeAddress[], now: number): void {
    const usable = candidates.filter(
      (endpoint) => isUsable(endpoint, this.#inside) && !this.#ownKeys.has(endpointKey(endpoint)),
    );
    peer.setCalled(usable);
    this.#hint(peer, now);
    if (now < peer.answeredCallAt + CALL_INTERVAL) return;
    peer.answeredCallAt = now;
    if (now >= peer.calledAt + CALL_BACK_INTERVAL) this.#call(peer, now);
    this.#pingAll(peer, now);
  }

  /** The peer seems to have something for us. */
  #hint(peer: PeerPath, now: number): void {
    const wasActive = this.#isActive(peer, now);
    peer.activeUntil = Math.max(peer.activeUntil, now + HINT_TIME);
    if (!wasActive) this.#lookSoon(peer, now);
  }

  #handlePong(peer: PeerPath, transaction: string, from: ProbeSource, now: number): void {
    const candidate = from.relayPeer === 0 ? peer.candidates.get(endpointKey(from.remote)) : peer.relay;
    const ping = candidate?.answered(transaction);
    if (candidate === undefined || ping === undefined) return; // an old one, or not from where we asked
    const rtt = now - ping.sentAt;
    candidate.measured(rtt, now);
    this.#tellAsked(peer, transaction, rtt);
    if (candidate === peer.relay) return;
    if (!ping.large) {
      if (candidate !== peer.current && this.#isActive(peer, now)) this.#ping(peer, candidate, true, now);
      return;
    }
    candidate.unansweredLarge = 0;
    candidate.narrow = false;
    if (peer.current === undefined || isBetter(candidate, peer.current)) this.#adopt(peer, candidate, now);
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
    if (this.#hasRelay) this.#use(peer, 'relayed', undefined, now);
    else this.#use(peer, 'none', peer.last?.endpoint, now);
  }

  #use(peer: PeerPath, kind: PeerPath['kind'], endpoint: Endpoint | undefined, now: number): void {
    if (kind !== peer.kind) peer.since = now;
    peer.kind = kind;
    if (kind === 'relayed' || endpoint !== undefined)
      this.#events.push({ kind: 'use', peer: peer.id, endpoint });
  }

  #expire(peer: PeerPath, now: number): void {
    while (peer.asked[0] !== undefined && now >= peer.asked[0].sentAt + ASKED_TIMEOUT)
      this.#events.push({ kind: 'answer', token: peer.asked.shift()!.token, rtt: undefined });
    for (const candidate of peer.all()) {
      if (candidate.waiting && now >= candidate.sentAt + patience(candidate))
        this.#unanswered(peer, candidate, now);
    }
    if (!this.#isActive(peer, now)) {
      this.#goIdle(peer, now);
      return;
    }
    const { current } = peer;
    if (current !== undefined && !current.waiting && now >= current.sentAt + this.#heartbeat(peer, now))
      this.#ping(peer, current, true, now);
    if (now >= peer.nextVolley) this.#volley(peer, now);
  }

  #heartbeat(peer: PeerPath, now: number): number {
    return now < peer.busyUntil ? HEARTBEAT.busy : HEARTBEAT.idle;
  }

  #unanswered(peer: PeerPath, candidate: Candidate, now: number): void {
    const large = candidate.pings.at(-1)?.large ?? false;
    candidate.waiting = false;
    candidate.unanswered += 1;
    if (large) candidate.unansweredLarge += 1;
    if (candidate === peer.current) {
      if (candidate.unanswered >= LOST_AFTER) this.#lose(peer, candidate, now);
      else this.#ping(peer, candidate, true, now);
    } else if (large) {
      if (candidate.unansweredLarge < LOST_AFTER) this.#ping(peer, candidate, true, now);
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
    this.#lookSoon(peer, now);
  }

  /** No pings without traffic: a NAT forgets the path then, and so do we, if there is a relay. */
  #goIdle(peer: PeerPath, now: number): void {
    peer.nextVolley = Infinity;
    peer.volleys = 0;
    if (peer.current === undefined || !this.#hasRelay) return;
    peer.current = undefined;
    this.#withoutDirect(peer, now);
  }

  #lookSoon(peer: PeerPath, now: number): void {
    peer.volleys = 0;
    peer.nextVolley = now;
  }

  /** Says where we are, and asks everywhere whether the peer is there. */
  #volley(peer: PeerPath, now: number): void {
    this.#call(peer, now);
    if (this.#hasRelay && !peer.relay.waiting) this.#ping(peer, peer.relay, false, now);
    this.#pingAll(peer, now);
    peer.nextVolley =
      now +
      (peer.current === undefined ? BACKOFF[Math.min(peer.volleys, BACKOFF.length - 1)]! : BETTER_INTERVAL);
    peer.volleys += 1;
  }

  #pingAll(peer: PeerPath, now: number): void {
    for (const candidate of peer.candidates.values())
      if (!candidate.waiting && candidate !== peer.current) this.#ping(peer, candidate, false, now);
  }

  #call(peer: PeerPath, now: number): void {
    if (this.#own.length === 0 || (!this.#hasRelay && peer.current === undefined)) return;
    peer.calledAt = now;
    const probe: Probe = { type: 'call', transaction: this.#transaction(), addresses: this.#own };
    const to = this.#hasRelay ? undefined : peer.current!.endpoint;
    this.#events.push({ kind: 'probe', peer: peer.id, probe, to });
  }

  #ping(peer: PeerPath, candidate: Candidate, large: boolean, now: number): string {
    const transaction = this.#transaction();
    const key = mapKey(transaction);
    candidate.sent(key, large, now);
    const probe: Probe = { type: 'ping', transaction, length: large ? this.#dataLength : SMALL_PING };
    this.#events.push({ kind: 'probe', peer: peer.id, probe, to: candidate.endpoint });
    return key;
  }

  #transaction(): Uint8Array {
    const bytes = new Uint8Array(8);
    this.#crypto.random(bytes);
    return bytes;
  }

  #tellAsked(peer: PeerPath, transaction: string, rtt: number): void {
    const at = peer.asked.findIndex((asked) => asked.transaction === transaction);
    if (at < 0) return;
    const [asked] = peer.asked.splice(at, 1);
    this.#events.push({ kind: 'answer', token: asked!.token, rtt });
  }

  #schedule(peer: PeerPath, now: number): void {
    let next = peer.asked[0] === undefined ? Infinity : peer.asked[0].sentAt + ASKED_TIMEOUT;
    for (const candidate of peer.all())
      if (candidate.waiting) next = Math.min(next, candidate.sentAt + patience(candidate));
    if (this.#isActive(peer, now)) {
      const { current } = peer;
      next = Math.min(next, peer.nextVolley, peer.activeUntil);
      if (current !== undefined && !current.waiting)
        next = Math.min(next, current.sentAt + this.#heartbeat(peer, now));
    } else if (peer.current !== undefined && this.#hasRelay) {
      next = now;
    }
    this.#deadlines.set(peer, next);
  }
}

/** How long an answer may take, milliseconds. */
const patience = ({ isHurried, rtt = 0 }: Candidate): number =>
  isHurried ? Math.min(PING_TIMEOUT, Math.max(QUICK_TIMEOUT, 3 * rtt)) : PING_TIMEOUT;
