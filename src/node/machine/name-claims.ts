import type { NodeId } from '../../protocol/node-id.js';

/** A node that was called one thing, and is to be called another. */
export interface Renaming {
  readonly id: NodeId;
  readonly from: string;
  readonly to: string;
}

/** Which node has which name: one name, one node. */
export class NameClaims {
  readonly #owners = new Map<string, NodeId>();

  ownerOf(name: string): NodeId | undefined {
    return this.#owners.get(name);
  }

  /** The caller has seen to it that nobody has the name. */
  take(name: string, id: NodeId): void {
    this.#owners.set(name, id);
  }

  release(name: string): void {
    this.#owners.delete(name);
  }

  /**
   * Gives several nodes other names at once, since two may have swapped theirs before this machine heard of it. Who is
   * to have a name that somebody keeps, keeps his own.
   *
   * @returns the ids of those that keep their names
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
      const other = granted.get(from); // who was to have that name cannot, after all
      if (other === undefined) continue;
      granted.delete(from);
      refused.push(other);
    }
    for (const [name, { id }] of granted) this.#owners.set(name, id);
    return new Set(refused.map(({ id }) => id));
  }
}
