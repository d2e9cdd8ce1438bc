import { LIMIT } from '../../protocol/fields.js';
import type { HubMessage } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';

export type PresenceMessage = Extract<HubMessage, { type: 'presence' }>;

/** Who is not connected to the hub, by its word, while this node is. */
export class Presence {
  /** When each was seen last, of the clock that `apply` is given; undefined: not since the hub was started. */
  readonly #offline = new Map<NodeId, number | undefined>();

  apply({ online, offline }: PresenceMessage, now: number): void {
    for (const id of online) this.#offline.delete(id);
    for (const { id, ago } of offline) {
      if (this.#offline.size >= LIMIT.nodes) return; // there are no more members
      this.#offline.set(id, ago === undefined ? undefined : now - ago);
    }
  }

  /** The hub is away, or will say all of it anew. */
  clear(): void {
    this.#offline.clear();
  }

  /** @returns undefined when the hub did not say that this member is away; `ago` in milliseconds */
  absence(id: NodeId, now: number): { readonly ago: number | undefined } | undefined {
    if (!this.#offline.has(id)) return undefined;
    const seenAt = this.#offline.get(id);
    return { ago: seenAt === undefined ? undefined : now - seenAt };
  }
}
