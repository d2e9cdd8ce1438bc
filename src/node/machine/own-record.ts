import type { Membership } from '../../protocol/messages.js';
import type { HubAddresses } from './hub-addresses.js';
import type { StoredNode } from './stored.js';

/** What this node knows of itself. */
export class OwnRecord {
  readonly #onChange: (node: StoredNode) => void;
  #node: StoredNode;

  /** @param onChange is to keep it */
  constructor(node: StoredNode, onChange: (node: StoredNode) => void) {
    this.#node = node;
    this.#onChange = onChange;
  }

  get node(): StoredNode {
    return this.#node;
  }

  /** The hub decides on rights, shares and the name, and not on who this node is; on its addresses it decides once. */
  setYou({ name, admin, pending, ipv4, ipv6, ipv4Only, shares }: Membership): void {
    const { ipv4Only: _, ...before } = this.#node.you;
    this.#set({
      ...this.#node,
      you: {
        ...before,
        ...(before.ipv4 === undefined && ipv4 !== undefined && ipv6 !== undefined && { ipv4, ipv6 }),
        ...{ name, admin, pending, shares },
        ...(ipv4Only && { ipv4Only }),
      },
    });
  }

  setName(name: string): void {
    if (name !== this.#node.you.name) this.#set({ ...this.#node, you: { ...this.#node.you, name } });
  }

  /** Where the hub is. */
  setHub(known: HubAddresses): void {
    this.#set({ ...this.#node, hub: { key: this.#node.hub.key, ...known } });
  }

  /** @param answered what the hub makes of them */
  setShares(offered: readonly string[], answered: Membership['shares']): void {
    this.#set({ ...this.#node, shares: offered, you: { ...this.#node.you, shares: answered } });
  }

  #set(node: StoredNode): void {
    if (JSON.stringify(node) === JSON.stringify(this.#node)) return;
    this.#node = node;
    this.#onChange(node);
  }
}
