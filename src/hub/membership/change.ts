import type { Transaction } from 'kysely';
import type { NetworkTable, Schema } from '../store/schema.js';

/** A transaction, and what it does to the map. */
export class Change {
  readonly db: Transaction<Schema>;
  readonly network: Readonly<NetworkTable>;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly touched = new Set<number>();
  #revision: number;
  #nextNode: number;

  constructor(db: Transaction<Schema>, network: NetworkTable, now: number) {
    this.db = db;
    this.network = network;
    this.now = now;
    this.#revision = network.revision;
    this.#nextNode = network.next_node;
  }

  /** A node's row or shares were changed, in ways that the map does not show. */
  touch(node: number): void {
    this.touched.add(node);
  }

  /** The revision for rows that the map shows and that this change makes: one more than before. */
  revise(): number {
    this.#revision = this.network.revision + 1;
    return this.#revision;
  }

  /** An id for a new node. */
  nextNode(): number {
    return this.#nextNode++;
  }

  async end(): Promise<number> {
    if (this.#revision !== this.network.revision || this.#nextNode !== this.network.next_node) {
      await this.db
        .updateTable('network')
        .set({ revision: this.#revision, next_node: this.#nextNode })
        .execute();
    }
    return this.#revision;
  }
}
