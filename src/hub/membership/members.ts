import type { Addresses, MapNode, MapVersion, Membership, OfferedShare } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import { encodeText } from '../../protocol/text.js';
import type { NodeQuery, NodeRecord, ReadTables } from './tables.js';

/** A node as it is stored, with its shares. */
export interface Member {
  readonly row: Readonly<NodeRecord>;
  readonly offered: readonly OfferedShare[];
  /** Its entry in the map, as JSON: encoded once for many messages. */
  readonly json: string;
}

/** How many removed nodes are kept for deltas. A node with an older map gets the whole map. */
const REMEMBERED = 10_000;
const DELTAS = 64;

/**
 * The members in memory, and the messages about them: the map, and what has changed since a revision. Each message is
 * encoded once for all that need it.
 */
export class Members {
  #version: MapVersion;
  readonly #byId = new Map<NodeId, Member>();
  readonly #byKey = new Map<string, Member>();
  /** Ids of removed members, in the order of the revisions that removed them. */
  readonly #gone: { readonly id: NodeId; readonly revision: number }[] = [];
  /** There are no deltas from revisions before this. */
  #horizon: number;
  #map: Uint8Array | undefined;
  readonly #deltas = new Map<number, Uint8Array>();

  constructor(version: MapVersion, horizon = 0) {
    this.#version = version;
    this.#horizon = horizon;
  }

  get version(): MapVersion {
    return this.#version;
  }

  get count(): number {
    return this.#byId.size;
  }

  ids = (): IterableIterator<NodeId> => this.#byId.keys();
  byId = (id: NodeId): Member | undefined => this.#byId.get(id);
  byKey = (key: string): Member | undefined => this.#byKey.get(key);

  /** Applies a change: each changed node as it is now, and the new revision. */
  apply(changed: readonly Member[], revision: number): void {
    for (const member of changed) {
      const { id, key, state } = member.row;
      const before = this.#byId.get(id);
      if (before !== undefined) this.#byKey.delete(before.row.key);
      if (state === 'active') {
        this.#byId.set(id, member);
        this.#byKey.set(key, member);
      } else {
        this.#byId.delete(id);
        if (state === 'removed' && member.row.revision > 0 && !this.#gone.some((gone) => gone.id === id)) {
          this.#gone.push({ id, revision: member.row.revision });
        }
      }
    }
    this.#gone.sort((a, b) => a.revision - b.revision);
    while (this.#gone.length > REMEMBERED) this.#horizon = this.#gone.shift()!.revision;
    if (revision !== this.#version.revision) {
      this.#version = { epoch: this.#version.epoch, revision };
      this.#map = undefined;
      this.#deltas.clear();
    }
  }

  /** Forgets members that were removed at this revision or earlier: deltas no longer mention them. */
  forget(horizon: number): void {
    this.#horizon = Math.max(this.#horizon, horizon);
    while (this.#gone.length > 0 && this.#gone[0]!.revision <= this.#horizon) this.#gone.shift();
  }

  /** Whether a delta is enough for a node that has that map. */
  canFollow(have: MapVersion | undefined): have is MapVersion {
    return (
      have !== undefined &&
      have.epoch === this.#version.epoch &&
      have.revision <= this.#version.revision &&
      have.revision >= this.#horizon
    );
  }

  /** The `map` message, in UTF-8. */
  map(): Uint8Array {
    if (this.#map === undefined) {
      const nodes = Array.from(this.#byId.values(), (member) => member.json);
      this.#map = encodeText(
        `{"type":"map","version":${JSON.stringify(this.#version)},"nodes":[${nodes.join()}]}`,
      );
    }
    return this.#map;
  }

  /** The `delta` message since a revision, in UTF-8; the `map` if that is shorter. */
  since(revision: number): Uint8Array {
    let delta = this.#deltas.get(revision);
    if (delta === undefined) {
      const nodes: string[] = [];
      for (const { row, json } of this.#byId.values()) if (row.revision > revision) nodes.push(json);
      if (nodes.length > this.#byId.size / 2 && nodes.length > 100) return this.map();
      const removed: number[] = [];
      for (let i = this.#gone.length - 1; i >= 0 && this.#gone[i]!.revision > revision; i--) {
        removed.push(this.#gone[i]!.id);
      }
      delta = encodeText(
        `{"type":"delta","from":${revision},"version":${JSON.stringify(this.#version)},` +
          `"nodes":[${nodes.join()}],"removed":[${removed.join()}]}`,
      );
      if (this.#deltas.size >= DELTAS) this.#deltas.delete(this.#deltas.keys().next().value!);
      this.#deltas.set(revision, delta);
    }
    return delta;
  }
}

function toMember(row: NodeRecord, offered: readonly OfferedShare[]): Member {
  return { row, offered, json: JSON.stringify(mapNode(row, offered)) };
}

/** A node's entry in the map. A pending node is not in the map, and has no addresses. */
export const mapNode = (
  row: NodeRecord,
  offered: readonly OfferedShare[],
): Omit<MapNode, keyof Addresses> & Partial<Addresses> => ({
  id: row.id,
  name: row.name,
  key: row.key,
  ...addressesOf(row),
  ...ipv4Only(row),
  shares: offered.filter(({ state }) => state === 'approved').map(({ network }) => network),
});

export const membership = ({ row, offered }: Member): Membership => ({
  id: row.id,
  name: row.name,
  ...addressesOf(row),
  admin: row.admin === 1,
  pending: row.state === 'pending',
  ...ipv4Only(row),
  shares: offered,
});

const addressesOf = ({ ipv4, ipv6 }: NodeRecord): Partial<Addresses> =>
  ipv4 === null || ipv6 === null ? {} : { ipv4, ipv6 };

const ipv4Only = (row: NodeRecord): { readonly ipv4Only?: true } =>
  row.ipv4_only === 1 ? { ipv4Only: true } : {};

/** From this many nodes on, all shares are read: the query is shorter than one with a list of ids. */
const MANY = 100;

/** Nodes with their shares, in the order of their ids. */
export async function loadMembers(tables: ReadTables, query: NodeQuery): Promise<Member[]> {
  const rows = await tables.nodes(query);
  if (rows.length === 0) return [];
  const shares = await tables.shares(rows.length < MANY ? rows.map(({ id }) => id) : undefined);
  shares.sort((a, b) => (a.network < b.network ? -1 : 1));
  const byNode = new Map<NodeId, OfferedShare[]>();
  for (const { node, network, state, why } of shares) {
    const list = byNode.get(node) ?? [];
    list.push(why === null ? { network, state } : { network, state, why });
    byNode.set(node, list);
  }
  return rows.map((row) => toMember(row, byNode.get(row.id) ?? []));
}

/** The removed nodes that deltas may have to mention. */
export const loadRemoved = async (tables: ReadTables): Promise<Member[]> =>
  (await tables.lastRemoved(REMEMBERED + 1)).map((row) => toMember(row, []));
