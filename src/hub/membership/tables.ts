import { LametunError } from '../../errors.js';
import type { NodeId } from '../../protocol/node-id.js';

/*
 * Everything that a hub keeps but its own key, the same in every store. Times are milliseconds since 1970, flags 0 or 1.
 */

/** One row. Whoever writes anything holds it first, so that writers go one after the other. */
export interface NetworkRecord {
  /** 1: keeps two hubs that start at once from making a network each. */
  single: number;
  id: string;
  /** The hub's public key, base64: by another one no member would know it. */
  hub_key: string;
  name: string;
  ipv4: string;
  ipv6: string;
  mtu: number;
  /** Random; another one after a backup was restored, which makes all nodes forget the map that they have. */
  epoch: string;
  /** Grows with every change of the map. */
  revision: number;
  /** `open`: an invitation makes a node a member. `ask`: an administrator approves it first. */
  policy: 'open' | 'ask';
  /** The id of the next node. */
  next_node: NodeId;
  created_at: number;
  /** Removed nodes of this revision and before may have been forgotten: from before it there are no deltas. */
  horizon: number;
}

/**
 * A node is current while it is pending or active. A removed one stays for a while, for deltas to tell of; its key, name
 * and addresses may be given again. No two current nodes have the same.
 */
export interface NodeRecord {
  id: NodeId;
  key: string;
  name: string;
  /** Null until the node is approved, as is `ipv6`. */
  ipv4: string | null;
  ipv6: string | null;
  /** Its machine has no IPv6. */
  ipv4_only: number;
  admin: number;
  state: 'pending' | 'active' | 'removed';
  /** The network's revision at which the map last changed for its sake; 0 when it never was in it. */
  revision: number;
  /** The invitation by which it came. */
  invite: string | null;
  joined_at: number;
  removed_at: number | null;
}

export interface InviteRecord {
  id: string;
  /** SHA-256 of the secret, hexadecimal; no two have the same. The secret itself is in the token only. */
  secret_hash: string;
  created_at: number;
  expires_at: number;
  /** How many may join by it. */
  max_uses: number;
  admin: number;
  /** JSON: networks that need no approval. */
  shares: string;
  revoked_at: number | null;
  uses: number;
}

export interface ShareRecord {
  node: NodeId;
  network: string;
  state: 'approved' | 'pending' | 'refused';
  /** Why it is refused. */
  why: string | null;
}

export interface Contents {
  readonly network: NetworkRecord;
  readonly invites: readonly InviteRecord[];
  readonly nodes: readonly NodeRecord[];
  readonly shares: readonly ShareRecord[];
}

export type NodeQuery =
  | 'current'
  /** The current one with that key, name or IPv4 address. */
  | { readonly key: string }
  | { readonly name: string }
  | { readonly ipv4: string }
  /** Pending ones that came by this invitation. */
  | { readonly pendingBy: string }
  /** Whatever their state. */
  | { readonly ids: readonly NodeId[] }
  /** Changed after this revision, whatever their state. */
  | { readonly since: number }
  /** Removed at this time or before. */
  | { readonly removedBy: number };

/** What can be read. Rows come in any order where none is stated. */
export interface ReadTables {
  network(): Promise<NetworkRecord | undefined>;
  /** In the order of their ids. */
  nodes(query: NodeQuery): Promise<NodeRecord[]>;
  /** Removed ones that were in the map, the latest revision first. */
  lastRemoved(limit: number): Promise<NodeRecord[]>;
  /** Whether a removed node had this key. */
  wasRemoved(key: string): Promise<boolean>;
  pendingCount(): Promise<number>;
  /** Of current nodes, those that begin with `prefix`. */
  names(prefix: string): Promise<string[]>;
  /** The IPv4 addresses of current nodes. */
  addresses(): Promise<string[]>;
  /** @param nodes all if not given */
  shares(nodes?: readonly NodeId[]): Promise<ShareRecord[]>;
  /** What current nodes but this one share, or offer to share, with the node's name; by node. */
  claims(except: NodeId): Promise<{ readonly network: string; readonly node: string }[]>;
  invites(): Promise<InviteRecord[]>;
  invite(by: { readonly id: string } | { readonly secretHash: string }): Promise<InviteRecord | undefined>;
  /** Names of all nodes that came by an invitation, removed ones too, in the order of their ids. */
  invited(): Promise<{ readonly invite: string; readonly name: string }[]>;
  /** @throws when there is no network */
  contents(): Promise<Contents>;
}

/** What a transaction can do. */
export interface Tables extends ReadTables {
  /** Does nothing when there is one. */
  insertNetwork(network: NetworkRecord): Promise<void>;
  updateNetwork(set: Partial<NetworkRecord>): Promise<void>;
  insertNode(node: NodeRecord): Promise<void>;
  updateNode(id: NodeId, set: Partial<NodeRecord>): Promise<void>;
  deleteNodes(ids: readonly NodeId[]): Promise<void>;
  /** Replaces all that a node shares or offers. */
  replaceShares(node: NodeId, shares: readonly ShareRecord[]): Promise<void>;
  /** Does nothing when there is one with this id or secret. */
  insertInvite(invite: InviteRecord): Promise<void>;
  updateInvite(id: string, set: Partial<InviteRecord>): Promise<void>;
  deleteInvites(ids: readonly string[]): Promise<void>;
  /** Adds `by` to every time from `from` to `to`; to an expiry when its invitation was created then. */
  moveTimes(step: { readonly from: number; readonly to: number; readonly by: number }): Promise<void>;
  /** Deletes everything, and inserts this. */
  replaceContents(contents: Contents): Promise<void>;
}

/** The hub's memory that outlives it. What `write` has returned is kept, whatever happens. */
export interface Store {
  /** @throws StoreUnavailable */
  read<T>(query: (tables: ReadTables) => Promise<T>): Promise<T>;
  /** Everything as it was at one moment. @throws StoreUnavailable */
  snapshot<T>(query: (tables: ReadTables) => Promise<T>): Promise<T>;
  /**
   * Changes something. Writers go one after the other, those of other hubs on the same database too: each sees all that was
   * written before it. `work` may be run again when the database was lost, even if it had been committed.
   *
   * @param committed is called before the next writer begins
   * @throws StoreUnavailable; whatever `work` throws, with nothing changed
   */
  write<T>(
    work: (tables: Tables, network: NetworkRecord) => Promise<T>,
    committed?: (value: T) => void,
  ): Promise<T>;
  /** A transaction where there may be no network yet: to make one, or to replace everything. @throws StoreUnavailable */
  initialise<T>(work: (tables: Tables) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** The database cannot do now what was asked, and may later. Nothing was changed. */
export class StoreUnavailable extends LametunError {
  constructor(message: string, options?: ErrorOptions) {
    super('unreachable', message, options);
  }
}
