import { LIMIT } from '../../protocol/fields.js';
import type { HubMessage } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';

export type PresenceMessage = Extract<HubMessage, { type: 'presence' }>;

/** The members that are not connected to the hub, as the hub says. Empty while this node is not connected. */
export class Presence {
  /** When each was last connected, by the clock of `apply`; undefined: not since the hub started. */
  readonly #offline = new Map<NodeId, number | undefined>();

  apply({ online, offline }: PresenceMessage, now: number): void {
    for (const id of online) this.#offline.delete(id);
    for (const { id, ago } of offline) {
      if (this.#offline.size >= LIMIT.nodes) return; // a network has no more members
      this.#offline.set(id, ago === undefined ? undefined : now - ago);
    }
  }

  /** The connection has ended. */
  clear(): void {
    this.#offline.clear();
  }

  /** @returns undefined for a member that is not offline; `ago`, in milliseconds, says when it was last connected */
  absence(id: NodeId, now: number): { readonly ago: number | undefined } | undefined {
    if (!this.#offline.has(id)) return undefined;
    const seenAt = this.#offline.get(id);
    return { ago: seenAt === undefined ? undefined : now - seenAt };
  }
}
