import type { NodeId } from '../../protocol/node-id.js';

/** A new name for a node. */
export interface Renaming {
  readonly id: NodeId;
  readonly from: string;
  readonly to: string;
}

/** Which node has which name. A name belongs to one node at most. */
export class NameClaims {
  readonly #owners = new Map<string, NodeId>();

  ownerOf(name: string): NodeId | undefined {
    return this.#owners.get(name);
  }

  /** The name must be free. */
  take(name: string, id: NodeId): void {
    this.#owners.set(name, id);
  }

  release(name: string): void {
    this.#owners.delete(name);
  }

  /**
   * Renames several nodes at once, because two may have swapped names. A node whose new name stays in use keeps its own.
   *
   * @returns the ids of nodes that keep their names
   */
  rename(renamings: readonly Renaming[]): Set<number> {
    for (const { from } of renamings) this.#owners.delete(from);
    const granted = new Map<string, Renaming>();
    const refused: Renaming[] = [];
    for (const each of renamings) {
      if (this.#owners.has(each.to) || granted.has(each.to)) refused.push(each);
      else granted.set(each.to, each);
    }
    for (const { id, from } of refused) {
      this.#owners.set(from, id);
      const other = granted.get(from); // the name is not given up after all
      if (other === undefined) continue;
      granted.delete(from);
      refused.push(other);
    }
    for (const [name, { id }] of granted) this.#owners.set(name, id);
    return new Set(refused.map(({ id }) => id));
  }
}
