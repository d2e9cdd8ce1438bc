import type { NodeId } from '../../protocol/node-id.js';
import type { NetworkRecord, Tables } from './tables.js';

/** A transaction, and what it does to the map. */
export class Change {
  readonly tables: Tables;
  readonly network: Readonly<NetworkRecord>;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly touched = new Set<NodeId>();
  #revision: number;
  #nextNode: NodeId;

  constructor(tables: Tables, network: NetworkRecord, now: number) {
    this.tables = tables;
    this.network = network;
    this.now = now;
    this.#revision = network.revision;
    this.#nextNode = network.next_node;
  }

  /** Marks a node whose row or shares were changed. */
  touch(node: NodeId): void {
    this.touched.add(node);
  }

  /** The revision of this change, for rows that the map shows: one more than before. */
  revise(): number {
    this.#revision = this.network.revision + 1;
    return this.#revision;
  }

  /** An id for a new node. */
  nextNode(): NodeId {
    return this.#nextNode++;
  }

  async end(): Promise<number> {
    if (this.#revision !== this.network.revision || this.#nextNode !== this.network.next_node) {
      await this.tables.updateNetwork({ revision: this.#revision, next_node: this.#nextNode });
    }
    return this.#revision;
  }
}
