import type { NodeId } from '../../protocol/node-id.js';
import type { Transfer } from '../../wireguard/activity.js';

/** A peer that has sent or received something. */
export interface PeerActivity {
  readonly id: NodeId;
  /** Packets go to it, and for some time none has come back. */
  readonly isSilent: boolean;
}

/** How often traffic is to be counted, milliseconds. */
export const TRAFFIC_INTERVAL = 250;
/** For so long a peer may answer nothing before that is odd, milliseconds. */
const SILENCE = 500;
/** After such a pause a question is a new one. */
const PAUSE = 2_000;

/** What a peer had sent and received when traffic was counted last, in bytes, and when that was. */
interface Seen extends Transfer {
  readonly at: number;
  /** Since when packets go to it without an answer. */
  readonly unansweredSince: number | undefined;
}

const NOTHING: Seen = { received: 0, sent: 0, at: -Infinity, unansweredSince: undefined };

/** Tells from counters which peers have traffic, and which do not answer. */
export class Traffic {
  readonly #seen = new Map<NodeId, Seen>();

  /** Those that have sent or received anything since this was asked last. @param counted by member's id, since the start */
  *active(
    counted: Iterable<readonly [id: NodeId, transfer: Transfer]>,
    now: number,
  ): Generator<PeerActivity> {
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
