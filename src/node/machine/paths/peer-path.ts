import type { Endpoint } from '../../../ip/endpoint.js';
import type { NodeId } from '../../../protocol/node-id.js';
import { TokenBucket } from '../../../token-bucket.js';
import type { Deadlined } from '../../../wireguard/deadlines.js';
import { endpointKey, isPrivate, MAX_CANDIDATES } from './candidates.js';

/** How we know of an address. */
export type Source =
  /** It answered there before, maybe before this process was. */
  | 'stored'
  /** The peer said so. */
  | 'called'
  /** A probe of the peer's came from there. */
  | 'seen';

const PING_BACKS = { rate: 2, burst: 2 } as const;
const CALLS = { rate: 1, burst: 3 } as const;
const PONGS = { rate: 20, burst: 40 } as const;

/** Addresses that probes came from, at most. */
const MAX_SEEN = 4;

interface SentPing {
  readonly transaction: string;
  readonly sentAt: number;
  /** As large as data. */
  readonly large: boolean;
}
const LATE_PINGS = 4;
const LATE_CALLS = 8;

/** An address at which a peer may be, or the relay: somewhere to send pings. */
export class Candidate {
  readonly key: string;
  /** Undefined: through the relay. */
  readonly endpoint: Endpoint | undefined;
  source: Source;
  /** The last few, the newest last: late answers count. */
  readonly pings: SentPing[] = [];
  sentAt = -Infinity;
  /** Whether the newest is still to be answered. */
  waiting = false;
  /** The newest was to open our own NAT, and not to get there. */
  isOpener = false;
  /** Pings in a row that were not answered in time. */
  unanswered = 0;
  /** Those of them that were as large as data. */
  unansweredLarge = 0;
  /** There is reason to think that it does not answer any more. */
  isHurried = false;
  /** Whether it answers, but not what is as large as data. */
  narrow = false;
  /** The peer has named it once, and does not any more: it has moved. */
  disowned = false;
  /** Smoothed, milliseconds; undefined while it has never answered. */
  rtt: number | undefined;
  answeredAt = -Infinity;
  /** When a probe came from there last. */
  heardAt = -Infinity;
  /** Pings back to the peer's pings from there. */
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

  /** Notes a ping, and forgets that the one before was not answered yet. */
  sent(transaction: string, large: boolean, isOpener: boolean, now: number): void {
    this.isOpener = isOpener;
    this.pings.push({ transaction, sentAt: now, large });
    if (this.pings.length > LATE_PINGS) this.pings.shift();
    this.sentAt = now;
    this.waiting = true;
  }

  /** @returns the ping that this answers; a second answer is none */
  answered(transaction: string): SentPing | undefined {
    const at = this.pings.findIndex((ping) => ping.transaction === transaction);
    if (at < 0) return undefined;
    if (at === this.pings.length - 1) this.waiting = false;
    return this.pings.splice(at, 1)[0];
  }

  /** Of two equally fast ones the higher. */
  get rank(): number {
    const { address } = this.endpoint!;
    if (isPrivate(address)) return 2;
    return address.length === 16 ? 1 : 0;
  }
}

/** By so much must a path be better than the one in use; milliseconds, and a share of it. */
const MARGIN = 2;
const MARGIN_SHARE = 0.25;

/** Whether to leave `current` for `other`, both of which answer. Never true both ways round: paths do not flap. */
export function isBetter(other: Candidate, current: Candidate): boolean {
  if (other === current || other.rtt === undefined || current.rtt === undefined) return false;
  if (current.disowned !== other.disowned) return current.disowned;
  if (other.rank > current.rank) return other.rtt <= current.rtt + MARGIN;
  return other.rtt < current.rtt * (1 - MARGIN_SHARE) - MARGIN;
}

/** Somebody waits for the answer to this one. */
export interface AskedPing {
  readonly token: number;
  readonly candidate: Candidate;
  readonly transaction: string;
  readonly sentAt: number;
}

export type PathKind = 'direct' | 'relayed' | 'none';

/** What is known of the way to one peer. `PathRules` decide; this remembers. */
export class PeerPath implements Deadlined {
  deadline = Infinity;
  heapIndex = -1;
  readonly id: NodeId;
  readonly candidates = new Map<string, Candidate>();
  readonly relay = new Candidate(undefined, 'stored');
  /** What data goes to directly: it answered our pings. */
  current: Candidate | undefined;
  /** What was `current` last. */
  last: Candidate | undefined;
  kind: PathKind = 'none';
  since = 0;
  /** Why the last direct path was left; until there is another. */
  lost: string | undefined;
  /** Until when there is somebody whom a direct path would serve. */
  activeUntil = -Infinity;
  /** Until when packets flow: the path is watched closely. */
  busyUntil = -Infinity;
  /** How often a direct path was looked for in vain, and when the next time is. */
  volleys = 0;
  nextVolley = Infinity;
  /** When the last time was. */
  triedAt = -Infinity;
  /** We have called, and the peer has not opened its NAT for us since. */
  isCalling = false;
  /** Until when what we send gets through its NAT, for all that is known. */
  openUntil = -Infinity;
  /** What has told the peer where we are now, by transaction, the latest last. */
  #told: string[] = [];
  /** Calls of both kinds that are followed. */
  readonly followed = { call: new TokenBucket(CALLS), opened: new TokenBucket(CALLS) };
  /** Answers to pings. */
  readonly pongs = new TokenBucket(PONGS);
  readonly asked: AskedPing[] = [];

  constructor(id: NodeId) {
    this.id = id;
  }

  /** Whether there is traffic, or there seems to be. */
  isActive(now: number): boolean {
    return now < this.activeUntil;
  }

  noteTold(transaction: string): void {
    this.#told.push(transaction);
    if (this.#told.length > LATE_CALLS) this.#told.shift();
  }

  /** Whether this has told the peer every address that we have now. */
  wasTold(transaction: string): boolean {
    return this.#told.includes(transaction);
  }

  /** We have other addresses, for which the peer's NAT is not open. */
  forgetTold(): void {
    this.#told = [];
    this.openUntil = -Infinity;
  }

  /** A direct path is to be looked for now, and then often. */
  lookSoon(now: number): void {
    this.volleys = 0;
    this.nextVolley = now;
  }

  /** Pings wait for answers from all of these. */
  *all(): Generator<Candidate> {
    yield this.relay;
    yield* this.candidates.values();
  }

  /**
   * The peer has told all places where it may be. What it does not name any more is forgotten, if it does not answer.
   *
   * @returns whether it is somewhere else than it was known to be
   */
  setCalled(endpoints: readonly Endpoint[]): boolean {
    for (const candidate of this.candidates.values())
      if (candidate.source === 'stored') this.#forget(candidate); // all but the last one
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

  /** @returns undefined when there are enough of these already, and all in use */
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

  /** Forgets places for good, those in use included. @returns whether there were any */
  drop(isNoPlace: (endpoint: Endpoint) => boolean): boolean {
    let found = false;
    for (const candidate of [...this.candidates.values()]) {
      if (!isNoPlace(candidate.endpoint!)) continue;
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
