import type { Endpoint } from '../../../ip/endpoint.js';
import type { NodeId } from '../../../protocol/node-id.js';
import { TokenBucket } from '../../../token-bucket.js';
import type { Deadlined } from '../../../wireguard/deadlines.js';
import { endpointKey, isPrivate, MAX_CANDIDATES } from './candidates.js';

/** How a candidate became known. */
export type Source =
  /** The peer answered there before, perhaps to an earlier process. */
  | 'stored'
  /** The peer listed it in a call. */
  | 'called'
  /** A probe of the peer came from there. */
  | 'seen';

const PING_BACKS = { rate: 2, burst: 2 } as const;
const CALLS = { rate: 1, burst: 3 } as const;
const PONGS = { rate: 20, burst: 40 } as const;

/** The most candidates with the source `seen`. */
const MAX_SEEN = 4;

interface SentPing {
  readonly transaction: string;
  readonly sentAt: number;
  /** As large as data. */
  readonly large: boolean;
}
const LATE_PINGS = 4;
const LATE_CALLS = 8;

/** Where to send pings: an endpoint of the peer, or the relay. */
export class Candidate {
  readonly key: string;
  /** Undefined: through the relay. */
  readonly endpoint: Endpoint | undefined;
  source: Source;
  /** The last few, the newest last. Late answers count. */
  readonly pings: SentPing[] = [];
  sentAt = -Infinity;
  /** Whether the newest ping is pending. */
  waiting = false;
  /** Whether the newest ping only opens this node's own NAT. */
  isOpener = false;
  /** How many pings in a row were not answered in time. */
  unanswered = 0;
  /** How many of them were as large as data. */
  unansweredLarge = 0;
  /** It may have stopped answering. */
  isHurried = false;
  /** It answers small pings, but none as large as data. */
  narrow = false;
  /** The peer's latest call no longer lists it. */
  disowned = false;
  /** Smoothed, milliseconds; undefined if it has never answered. */
  rtt: number | undefined;
  answeredAt = -Infinity;
  /** When the last probe came from there. */
  heardAt = -Infinity;
  /** Limits pings in return for the peer's pings. */
  readonly backs = new TokenBucket(PING_BACKS);

  constructor(endpoint: Endpoint | undefined, source: Source) {
    this.endpoint = endpoint;
    this.key = endpoint === undefined ? 'relay' : endpointKey(endpoint);
    this.source = source;
  }

  measured(rtt: number, now: number): void {
    this.rtt = this.rtt === undefined ? rtt : this.rtt * 0.75 + rtt * 0.25;
    this.answeredAt = now;
    this.heardAt = now;
    this.unanswered = 0;
    this.isHurried = false;
  }

  /** Records a ping. It becomes the newest, even if the one before is pending. */
  sent(transaction: string, large: boolean, isOpener: boolean, now: number): void {
    this.isOpener = isOpener;
    this.pings.push({ transaction, sentAt: now, large });
    if (this.pings.length > LATE_PINGS) this.pings.shift();
    this.sentAt = now;
    this.waiting = true;
  }

  /** @returns the answered ping; undefined for a repeated answer */
  answered(transaction: string): SentPing | undefined {
    const at = this.pings.findIndex((ping) => ping.transaction === transaction);
    if (at < 0) return undefined;
    if (at === this.pings.length - 1) this.waiting = false;
    return this.pings.splice(at, 1)[0];
  }

  /** Of two equally fast candidates, the one with the higher rank is better. */
  get rank(): number {
    const { address } = this.endpoint!;
    if (isPrivate(address)) return 2;
    return address.length === 16 ? 1 : 0;
  }
}

/** How much faster a path must be than the one in use: milliseconds, and a fraction. */
const MARGIN = 2;
const MARGIN_SHARE = 0.25;

/** Whether to leave `current` for `other`, both of which answer. Never true in both directions: paths do not flap. */
export function isBetter(other: Candidate, current: Candidate): boolean {
  if (other === current || other.rtt === undefined || current.rtt === undefined) return false;
  if (current.disowned !== other.disowned) return current.disowned;
  if (other.rank > current.rank) return other.rtt <= current.rtt + MARGIN;
  return other.rtt < current.rtt * (1 - MARGIN_SHARE) - MARGIN;
}

/** A user's ping. */
export interface AskedPing {
  readonly token: number;
  readonly candidate: Candidate;
  readonly transaction: string;
  readonly sentAt: number;
}

export type PathKind = 'direct' | 'relayed' | 'none';

/** The state of the path to one peer. `PathRules` decides what to do with it. */
export class PeerPath implements Deadlined {
  deadline = Infinity;
  heapIndex = -1;
  readonly id: NodeId;
  readonly candidates = new Map<string, Candidate>();
  readonly relay = new Candidate(undefined, 'stored');
  /** The direct path in use. */
  current: Candidate | undefined;
  /** The last direct path in use. */
  last: Candidate | undefined;
  kind: PathKind = 'none';
  since = 0;
  /** The endpoint of the last direct path, if it stopped answering; until there is another path. */
  lost: string | undefined;
  /** Until when a direct path is worth having. */
  activeUntil = -Infinity;
  /** Until when the path is watched closely. */
  busyUntil = -Infinity;
  /** How many searches for a direct path there were in a row, and when the next one is. */
  volleys = 0;
  nextVolley = Infinity;
  /** When the last search was. */
  triedAt = -Infinity;
  /** This node has called, and the peer has not answered `opened` since. */
  isCalling = false;
  /** Until when the peer's NAT is open for this node, as far as known. */
  openUntil = -Infinity;
  /** Transactions of the calls that listed all present candidates of this node, the latest last. */
  #told: string[] = [];
  /** Limits how many calls of each type are followed. */
  readonly followed = { call: new TokenBucket(CALLS), opened: new TokenBucket(CALLS) };
  /** Limits answers to pings. */
  readonly pongs = new TokenBucket(PONGS);
  readonly asked: AskedPing[] = [];

  constructor(id: NodeId) {
    this.id = id;
  }

  /** Whether there is traffic, or a hint of it. */
  isActive(now: number): boolean {
    return now < this.activeUntil;
  }

  noteTold(transaction: string): void {
    this.#told.push(transaction);
    if (this.#told.length > LATE_CALLS) this.#told.shift();
  }

  /** Whether this call listed all present candidates of this node. */
  wasTold(transaction: string): boolean {
    return this.#told.includes(transaction);
  }

  /** The candidates of this node have changed: the peer's NAT is not open for the new ones. */
  forgetTold(): void {
    this.#told = [];
    this.openUntil = -Infinity;
  }

  /** Searches for a direct path now, and often at first. */
  lookSoon(now: number): void {
    this.volleys = 0;
    this.nextVolley = now;
  }

  /** All that may have a pending ping. */
  *all(): Generator<Candidate> {
    yield this.relay;
    yield* this.candidates.values();
  }

  /**
   * Takes over the candidates in a peer's call. Others that were called are forgotten, unless in use.
   *
   * @returns whether any is new
   */
  setCalled(endpoints: readonly Endpoint[]): boolean {
    for (const candidate of this.candidates.values())
      if (candidate.source === 'stored') this.#forget(candidate);
    const keys = new Set(endpoints.map(endpointKey));
    for (const candidate of this.candidates.values()) {
      if (candidate.source !== 'called' || keys.has(candidate.key)) continue;
      candidate.disowned = true;
      this.#forget(candidate);
    }
    let isNew = false;
    for (const endpoint of endpoints.slice(0, MAX_CANDIDATES)) {
      isNew ||= !this.candidates.has(endpointKey(endpoint));
      this.#add(endpoint, 'called');
    }
    return isNew;
  }

  /** @returns undefined if there are too many already, all in use */
  addSeen(endpoint: Endpoint): Candidate | undefined {
    const known = this.candidates.get(endpointKey(endpoint));
    if (known !== undefined) return known;
    const seen = [...this.candidates.values()].filter(({ source }) => source === 'seen');
    if (seen.length >= MAX_SEEN) {
      const oldest = seen.filter((candidate) => candidate !== this.current);
      oldest.sort((a, b) => Math.max(a.answeredAt, a.sentAt) - Math.max(b.answeredAt, b.sentAt));
      if (oldest[0] === undefined) return undefined;
      this.#forget(oldest[0]);
    }
    return this.#add(endpoint, 'seen');
  }

  addStored(endpoint: Endpoint): Candidate {
    return this.#add(endpoint, 'stored');
  }

  /** Removes unusable candidates, even those in use. @returns whether there were any */
  drop(isUnusable: (endpoint: Endpoint) => boolean): boolean {
    let found = false;
    for (const candidate of [...this.candidates.values()]) {
      if (!isUnusable(candidate.endpoint!)) continue;
      found = true;
      this.candidates.delete(candidate.key);
      if (candidate === this.current) this.current = undefined;
      if (candidate === this.last) this.last = undefined;
    }
    return found;
  }

  #add(endpoint: Endpoint, source: Source): Candidate {
    const known = this.candidates.get(endpointKey(endpoint));
    if (known !== undefined) {
      if (known.source === 'seen' || source === 'called') known.source = source;
      if (source === 'called') known.disowned = false;
      return known;
    }
    const candidate = new Candidate(endpoint, source);
    this.candidates.set(candidate.key, candidate);
    return candidate;
  }

  #forget(candidate: Candidate): void {
    if (candidate === this.current || candidate === this.last) candidate.source = 'stored';
    else this.candidates.delete(candidate.key);
  }
}
