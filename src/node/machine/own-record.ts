import type { Log } from '../../log.js';
import type { Membership } from '../../protocol/messages.js';
import type { StateDirectory, StoredNode } from '../shell/state.js';
import type { HubAddresses } from './hub-addresses.js';

/** What this node knows of itself, kept in the state directory. */
export class OwnRecord {
  readonly #state: Pick<StateDirectory, 'writeNode'>;
  readonly #log: Pick<Log, 'error'>;
  readonly #onChange: () => void;
  #node: StoredNode;

  constructor(
    node: StoredNode,
    state: Pick<StateDirectory, 'writeNode'>,
    log: Pick<Log, 'error'>,
    onChange: () => void,
  ) {
    this.#node = node;
    this.#state = state;
    this.#log = log;
    this.#onChange = onChange;
  }

  get node(): StoredNode {
    return this.#node;
  }

  /**
   * The hub decides on rights and shares, and what we are called, and not on who we are: where we are inside the network
   * it says once.
   */
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
    this.#set({ ...this.#node, you: { ...this.#node.you, name } });
  }

  /** Where the hub is. */
  setHub(known: HubAddresses): void {
    this.#set({ ...this.#node, hub: { key: this.#node.hub.key, ...known } });
  }

  /** @param answered what the hub makes of them */
  setShares(offered: readonly string[], answered: Membership['shares']): void {
    this.#set({ ...this.#node, shares: offered, you: { ...this.#node.you, shares: answered } });
  }

  /** What cannot be written is logged: it holds until the end of this process then. */
  #set(node: StoredNode): void {
    const isSame = JSON.stringify(node) === JSON.stringify(this.#node);
    this.#node = node;
    if (isSame) return;
    try {
      this.#state.writeNode(node);
    } catch (error) {
      this.#log.error((error as Error).message);
    }
    this.#onChange();
  }
}
