import type { NodeId } from '../../../protocol/node-id.js';

/** Whom a node had traffic with, and when that was written down: milliseconds since 1970. */
export interface RecentPeers {
  readonly at: number;
  readonly peers: readonly NodeId[];
}

/** For so long a peer may still use a session with the process before this one: [W] 6.1, Reject-After-Time. */
const SESSION_TIME = 180_000;
/** How many are greeted at most, and within what time: a site whose power is back starts all its nodes at once. */
const MOST = 32;
const SPREAD = 250;

/**
 * Whom a node that starts again greets, with a handshake: peers with traffic a moment ago. They have sessions with the
 * process that was there before, and would go on to use them for 15 s without an answer.
 *
 * @param now milliseconds since 1970 @param random gives numbers of [0, 1)
 * @returns by peer, after how many milliseconds
 */
export function greetings(
  recent: RecentPeers | undefined,
  now: number,
  random: () => number,
): Map<NodeId, number> {
  if (recent === undefined || Math.abs(now - recent.at) > SESSION_TIME) return new Map();
  return new Map(recent.peers.slice(0, MOST).map((id) => [id, Math.floor(random() * SPREAD)]));
}

/** Greets each planned peer some time after the first path to it is there. Sans-I/O. */
export class Greetings {
  readonly #planned = new Map<NodeId, number>();
  /** When to greet, by peer. */
  readonly #due = new Map<NodeId, number>();

  /** @param delays by peer, milliseconds: see `greetings` */
  plan(delays: ReadonlyMap<NodeId, number>): void {
    for (const [peer, delay] of delays) this.#planned.set(peer, delay);
  }

  /** There is a path to the peer. On every other one WireGuard tries a handshake that waits by itself. */
  reached(peer: NodeId, now: number): void {
    const delay = this.#planned.get(peer);
    this.#planned.delete(peer);
    if (delay !== undefined) this.#due.set(peer, now + delay);
  }

  delete(peer: NodeId): void {
    this.#planned.delete(peer);
    this.#due.delete(peer);
  }

  nextTimeout(): number {
    return Math.min(...this.#due.values());
  }

  /** Whom to greet now. */
  *due(now: number): Generator<NodeId> {
    for (const [peer, at] of this.#due) {
      if (now < at) continue;
      this.#due.delete(peer);
      yield peer;
    }
  }
}

/** When those with traffic are looked at to be written down, and when they are though they are the same; milliseconds. */
const LOOK_INTERVAL = 5_000;
const RENEWAL = 60_000;

/** Decides when it is written down who has traffic: a process that is killed is to have said it before. Sans-I/O. */
export class RecentRecord {
  #lookedAt = -Infinity;
  #writtenAt = -Infinity;
  #written = '';

  /**
   * @param now of a clock that never goes back, milliseconds
   * @returns whom to write down now; undefined: it is early, or what is there will do
   */
  take(active: () => readonly NodeId[], now: number, isLast = false): readonly NodeId[] | undefined {
    if (!isLast && now < this.#lookedAt + LOOK_INTERVAL) return undefined;
    this.#lookedAt = now;
    const peers = active().slice(0, MOST);
    const text = peers.join();
    const isOld = peers.length > 0 && now >= this.#writtenAt + (isLast ? 0 : RENEWAL);
    if (text === this.#written && !isOld) return undefined;
    this.#written = text;
    this.#writtenAt = now;
    return peers;
  }
}
