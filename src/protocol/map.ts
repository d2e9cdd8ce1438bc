import type { HubMessage, MapNode, MapVersion } from './messages.js';
import type { NodeId } from './node-id.js';

export type MapMessage = Extract<HubMessage, { type: 'map' }>;
export type DeltaMessage = Extract<HubMessage, { type: 'delta' }>;

/** No hub has this epoch: a node that names it gets the whole map. */
export const NO_VERSION: MapVersion = { epoch: '0', revision: 0 };

/** What a message changed in the map. Unchanged nodes are in none of the lists. */
export interface MapChange {
  readonly added: readonly MapNode[];
  readonly changed: readonly MapNode[];
  readonly removed: readonly MapNode[];
}

/** The part of a map that the client needs. */
export interface MapKeeper {
  /** Undefined before the first map. */
  readonly version: MapVersion | undefined;
  applyMap(message: MapMessage): MapChange;
  /** `resync`: the delta does not fit the map here, which stays unchanged; ask for the whole map. */
  applyDelta(message: DeltaMessage): MapChange | 'resync';
}

/** All members of the network, as the hub last sent them. */
export class NetworkMap implements MapKeeper {
  #version: MapVersion | undefined;
  readonly #nodes = new Map<NodeId, MapNode>();

  get version(): MapVersion | undefined {
    return this.#version;
  }

  get size(): number {
    return this.#nodes.size;
  }

  get(id: NodeId): MapNode | undefined {
    return this.#nodes.get(id);
  }

  /** In no particular order. */
  nodes(): IterableIterator<MapNode> {
    return this.#nodes.values();
  }

  applyMap({ version, nodes }: MapMessage): MapChange {
    const stay = new Set(nodes.map(({ id }) => id));
    const removed = this.#remove([...this.#nodes.keys()].filter((id) => !stay.has(id)));
    this.#version = version;
    return { ...this.#put(nodes), removed };
  }

  applyDelta({ from, version, nodes, removed }: DeltaMessage): MapChange | 'resync' {
    const ours = this.#version;
    if (ours === undefined || ours.epoch !== version.epoch || ours.revision !== from) return 'resync';
    if (version.revision < from) return 'resync';
    this.#version = version;
    const gone = this.#remove(removed);
    return { ...this.#put(nodes), removed: gone };
  }

  #put(nodes: readonly MapNode[]): { added: MapNode[]; changed: MapNode[] } {
    const [added, changed]: [MapNode[], MapNode[]] = [[], []];
    for (const node of nodes) {
      const before = this.#nodes.get(node.id);
      if (before !== undefined && isSame(before, node)) continue;
      this.#nodes.set(node.id, node);
      (before === undefined ? added : changed).push(node);
    }
    return { added, changed };
  }

  #remove(ids: readonly NodeId[]): MapNode[] {
    return ids.flatMap((id) => {
      const node = this.#nodes.get(id);
      this.#nodes.delete(id);
      return node ?? [];
    });
  }
}

function isSame(a: MapNode, b: MapNode): boolean {
  return (
    a.name === b.name &&
    a.key === b.key &&
    a.ipv4 === b.ipv4 &&
    a.ipv6 === b.ipv6 &&
    a.ipv4Only === b.ipv4Only &&
    a.shares.length === b.shares.length &&
    a.shares.every((share, i) => share === b.shares[i])
  );
}
