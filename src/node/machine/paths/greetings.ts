import type { NodeId } from '../../../protocol/node-id.js';

/** The peers with recent traffic, and when they were recorded: milliseconds since 1970. */
export interface RecentPeers {
  readonly at: number;
  readonly peers: readonly NodeId[];
}

/** How long a peer may still use a session with the previous process, milliseconds: [W] 6.1, Reject-After-Time. */
const SESSION_TIME = 180_000;
/** The most peers to greet, and how long the greetings are spread, milliseconds: after a power cut all nodes of a site start at once. */
const MOST = 32;
const SPREAD = 250;

/**
 * The peers that a restarted node greets with a handshake: those with recent traffic. They have sessions with the previous
 * process, and would keep using them for 15 s without an answer.
 *
 * @param now milliseconds since 1970 @param random returns a double in [0, 1)
 * @returns the delay by peer, milliseconds
 */
export function greetings(
  recent: RecentPeers | undefined,
  now: number,
  random: () => number,
): Map<NodeId, number> {
  if (recent === undefined || Math.abs(now - recent.at) > SESSION_TIME) return new Map();
  return new Map(recent.peers.slice(0, MOST).map((id) => [id, Math.floor(random() * SPREAD)]));
}

/** Greets each planned peer some time after its first path. Sans-I/O. */
export class Greetings {
  readonly #planned = new Map<NodeId, number>();
  /** When to greet, by peer. */
  readonly #due = new Map<NodeId, number>();

  /** @param delays by peer, milliseconds: see `greetings` */
  plan(delays: ReadonlyMap<NodeId, number>): void {
    for (const [peer, delay] of delays) this.#planned.set(peer, delay);
  }

  /** There is a path to the peer. On later paths, WireGuard retries a pending handshake by itself. */
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

  /** The peers to greet now. */
  *due(now: number): Generator<NodeId> {
    for (const [peer, at] of this.#due) {
      if (now < at) continue;
      this.#due.delete(peer);
      yield peer;
    }
  }
}

/** How often to check which peers are active, and how often to record the same ones again; milliseconds. */
const CHECK_INTERVAL = 5_000;
const RENEWAL = 60_000;

/** Decides when to record the active peers: early enough for a process that is killed. Sans-I/O. */
export class RecentRecord {
  #checkedAt = -Infinity;
  #writtenAt = -Infinity;
  #written = '';

  /**
   * @param now of a clock that never goes back, milliseconds
   * @returns the peers to record now; undefined: none yet, or no change
   */
  take(active: () => readonly NodeId[], now: number, isLast = false): readonly NodeId[] | undefined {
    if (!isLast && now < this.#checkedAt + CHECK_INTERVAL) return undefined;
    this.#checkedAt = now;
    const peers = active().slice(0, MOST);
    const text = peers.join();
    const isOld = peers.length > 0 && now >= this.#writtenAt + (isLast ? 0 : RENEWAL);
    if (text === this.#written && !isOld) return undefined;
    this.#written = text;
    this.#writtenAt = now;
    return peers;
  }
}
