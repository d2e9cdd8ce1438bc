import type { NodeId } from '../../protocol/node-id.js';
import type { Transfer } from '../../wireguard/activity.js';

/** How often to count traffic, milliseconds. */
export const TRAFFIC_INTERVAL = 250;
/** How long a peer may take to answer before it counts as silent, milliseconds. */
const SILENCE = 500;
/** After a pause this long, the wait for an answer starts again, milliseconds. */
const PAUSE = 2_000;

/** A peer's counters, and when they last changed. */
interface Seen extends Transfer {
  readonly at: number;
  /** Since when packets to it have been unanswered. */
  readonly unansweredSince: number | undefined;
}

const NOTHING: Seen = { received: 0, sent: 0, at: -Infinity, unansweredSince: undefined };

/** Finds out from counters which peers have traffic, and which do not answer. */
export class Traffic {
  readonly #seen = new Map<NodeId, Seen>();

  /**
   * The peers with traffic since the last call. A silent one has not answered for some time, although packets go to it.
   *
   * @param counted by member's id, since the interface was created
   */
  *active(
    counted: Iterable<readonly [id: NodeId, transfer: Transfer]>,
    now: number,
  ): Generator<{ readonly id: NodeId; readonly isSilent: boolean }> {
    for (const [id, { received, sent }] of counted) {
      const before = this.#seen.get(id) ?? NOTHING;
      if (received === before.received && sent === before.sent) continue;
      const isAnswered = received !== before.received;
      const since = now - before.at > PAUSE ? undefined : before.unansweredSince;
      const unansweredSince = isAnswered ? undefined : (since ?? now);
      this.#seen.set(id, { received, sent, at: now, unansweredSince });
      yield { id, isSilent: unansweredSince !== undefined && now - unansweredSince >= SILENCE };
    }
  }

  delete(id: NodeId): void {
    this.#seen.delete(id);
  }
}
