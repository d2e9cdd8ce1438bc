import type {
  Contents,
  InviteRecord,
  NetworkRecord,
  NodeQuery,
  NodeRecord,
  ReadTables,
  ShareRecord,
  Store,
  Tables,
} from '../../src/hub/membership/tables.js';

/**
 * A hub's store in memory. It enforces what the SQL stores do: unique columns, foreign keys, and that a transaction that
 * throws changes nothing. It uses no I/O and no timers, so a network on a virtual clock continues once the microtasks
 * have run.
 */
export class MemoryStore implements Store {
  #tables = new MemoryTables();
  #writes: Promise<unknown> = Promise.resolve();

  read = async <T>(query: (tables: ReadTables) => Promise<T>): Promise<T> => query(this.#tables);
  snapshot = this.read;

  write<T>(
    work: (tables: Tables, network: NetworkRecord) => Promise<T>,
    committed?: (value: T) => void,
  ): Promise<T> {
    return this.#transaction(async (tables) => work(tables, tables.required()), committed);
  }

  initialise<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    return this.#transaction(work);
  }

  async close(): Promise<void> {
    await this.#writes;
  }

  /** Works on a copy, which replaces the tables when the work has succeeded. */
  #transaction<T>(work: (tables: MemoryTables) => Promise<T>, committed?: (value: T) => void): Promise<T> {
    const done = this.#writes.then(async () => {
      const copy = this.#tables.copy();
      const value = await work(copy);
      this.#tables = copy;
      committed?.(value);
      return value;
    });
    this.#writes = done.catch(() => {});
    return done;
  }
}

/** Rows are replaced, never changed, so a copy can share them. */
class MemoryTables implements Tables {
  #network: NetworkRecord | undefined;
  /** Sorted by id. */
  #nodes = new Map<number, NodeRecord>();
  #invites = new Map<string, InviteRecord>();
  #shares = new Map<number, readonly ShareRecord[]>();

  copy(): MemoryTables {
    const copy = new MemoryTables();
    copy.#network = this.#network;
    copy.#nodes = new Map(this.#nodes);
    copy.#invites = new Map(this.#invites);
    copy.#shares = new Map(this.#shares);
    return copy;
  }

  required(): NetworkRecord {
    if (this.#network === undefined) throw new Error('no network');
    return this.#network;
  }

  network = async (): Promise<NetworkRecord | undefined> => this.#network;

  async nodes(query: NodeQuery): Promise<NodeRecord[]> {
    if (typeof query === 'object' && 'ids' in query) {
      const ids = [...new Set(query.ids)].sort((a, b) => a - b);
      return ids.flatMap((id) => this.#nodes.get(id) ?? []);
    }
    return this.#all().filter(matches(query));
  }

  async lastRemoved(limit: number): Promise<NodeRecord[]> {
    const removed = this.#all().filter(({ state, revision }) => state === 'removed' && revision > 0);
    return removed.sort((a, b) => b.revision - a.revision).slice(0, limit);
  }

  wasRemoved = async (key: string): Promise<boolean> =>
    this.#all().some((node) => node.state === 'removed' && node.key === key);

  pendingCount = async (): Promise<number> => this.#all().filter(({ state }) => state === 'pending').length;

  names = async (prefix: string): Promise<string[]> =>
    this.#current().flatMap(({ name }) => (name.startsWith(prefix) ? name : []));

  addresses = async (): Promise<string[]> => this.#current().flatMap(({ ipv4 }) => ipv4 ?? []);

  async shares(nodes: readonly number[] = [...this.#shares.keys()]): Promise<ShareRecord[]> {
    return nodes.flatMap((node) => this.#shares.get(node) ?? []);
  }

  async claims(except: number): Promise<{ network: string; node: string }[]> {
    const others = this.#current().filter(({ id }) => id !== except);
    return others.flatMap(({ id, name }) => {
      const claimed = (this.#shares.get(id) ?? []).filter(({ state }) => state !== 'refused');
      return claimed.map(({ network }) => ({ network, node: name }));
    });
  }

  invites = async (): Promise<InviteRecord[]> => [...this.#invites.values()];

  async invite(
    by: { readonly id: string } | { readonly secretHash: string },
  ): Promise<InviteRecord | undefined> {
    if ('id' in by) return this.#invites.get(by.id);
    return [...this.#invites.values()].find(({ secret_hash }) => secret_hash === by.secretHash);
  }

  invited = async (): Promise<{ invite: string; name: string }[]> =>
    this.#all().flatMap(({ invite, name }) => (invite === null ? [] : { invite, name }));

  async contents(): Promise<Contents> {
    return {
      network: this.required(),
      invites: await this.invites(),
      nodes: this.#all(),
      shares: await this.shares(),
    };
  }

  async insertNetwork(network: NetworkRecord): Promise<void> {
    this.#network ??= network;
  }

  async updateNetwork(set: Partial<NetworkRecord>): Promise<void> {
    this.#network = { ...this.required(), ...set };
  }

  async insertNode(node: NodeRecord): Promise<void> {
    if (this.#nodes.has(node.id)) throw new Error(`node ${node.id} already exists`);
    this.#put(node);
  }

  async updateNode(id: number, set: Partial<NodeRecord>): Promise<void> {
    const node = this.#nodes.get(id);
    if (node !== undefined) this.#put({ ...node, ...set });
  }

  async deleteNodes(ids: readonly number[]): Promise<void> {
    for (const id of ids) {
      if (this.#shares.has(id)) throw new Error(`node ${id} has shares`);
      this.#nodes.delete(id);
    }
  }

  async replaceShares(node: number, shares: readonly ShareRecord[]): Promise<void> {
    if (shares.length > 0 && !this.#nodes.has(node)) throw new Error(`unknown node ${node}`);
    if (new Set(shares.map(({ network }) => network)).size < shares.length)
      throw new Error('duplicate network');
    if (shares.length === 0) this.#shares.delete(node);
    else this.#shares.set(node, shares);
  }

  async insertInvite(invite: InviteRecord): Promise<void> {
    const { id, secret_hash: secretHash } = invite;
    if (this.#invites.has(id) || (await this.invite({ secretHash })) !== undefined) return;
    this.#invites.set(id, invite);
  }

  async updateInvite(id: string, set: Partial<InviteRecord>): Promise<void> {
    const invite = this.#invites.get(id);
    if (invite !== undefined) this.#invites.set(id, { ...invite, ...set });
  }

  async deleteInvites(ids: readonly string[]): Promise<void> {
    const used = new Set(this.#all().map(({ invite }) => invite));
    for (const id of ids) {
      if (used.has(id)) throw new Error(`a node refers to invitation ${id}`);
      this.#invites.delete(id);
    }
  }

  async moveTimes({ from, to, by }: { from: number; to: number; by: number }): Promise<void> {
    const isDue = (time: number | null): boolean => time !== null && time >= from && time <= to;
    const move = <T extends number | null>(time: T): T => (isDue(time) ? time! + by : time) as T;
    for (const [id, invite] of this.#invites) {
      const { created_at, expires_at, revoked_at } = invite;
      const moved = isDue(created_at) ? expires_at + by : expires_at;
      this.#invites.set(id, {
        ...invite,
        ...{ created_at: move(created_at), expires_at: moved, revoked_at: move(revoked_at) },
      });
    }
    for (const [id, node] of this.#nodes) {
      const { joined_at, removed_at } = node;
      this.#nodes.set(id, { ...node, joined_at: move(joined_at), removed_at: move(removed_at) });
    }
  }

  async replaceContents({ network, invites, nodes, shares }: Contents): Promise<void> {
    this.#network = network;
    this.#invites = new Map(invites.map((invite) => [invite.id, invite]));
    this.#shares.clear();
    this.#nodes.clear();
    for (const node of nodes) await this.insertNode(node);
    for (const { node } of shares)
      await this.replaceShares(
        node,
        shares.filter((share) => share.node === node),
      );
  }

  #all = (): NodeRecord[] => [...this.#nodes.values()];
  #current = (): NodeRecord[] => this.#all().filter(matches('current'));

  #put(node: NodeRecord): void {
    if (node.invite !== null && !this.#invites.has(node.invite))
      throw new Error(`unknown invitation ${node.invite}`);
    for (const other of node.state === 'removed' ? [] : this.#current())
      for (const column of ['key', 'name', 'ipv4', 'ipv6'] as const)
        if (other.id !== node.id && node[column] !== null && other[column] === node[column])
          throw new Error(`node ${other.id} has the ${column} ${node[column]}`);
    const isLast = this.#nodes.has(node.id) || node.id > ([...this.#nodes.keys()].at(-1) ?? 0);
    this.#nodes.set(node.id, node);
    if (!isLast) this.#nodes = new Map([...this.#nodes].sort(([a], [b]) => a - b));
  }
}

function matches(
  query: Exclude<NodeQuery, { readonly ids: readonly number[] }>,
): (node: NodeRecord) => boolean {
  const isCurrent = ({ state }: NodeRecord): boolean => state !== 'removed';
  if (query === 'current') return isCurrent;
  if ('key' in query) return (node) => isCurrent(node) && node.key === query.key;
  if ('name' in query) return (node) => isCurrent(node) && node.name === query.name;
  if ('ipv4' in query) return (node) => isCurrent(node) && node.ipv4 === query.ipv4;
  if ('pendingBy' in query) return ({ state, invite }) => state === 'pending' && invite === query.pendingBy;
  if ('since' in query) return ({ revision }) => revision > query.since;
  return ({ state, removed_at }) => state === 'removed' && removed_at! <= query.removedBy;
}
