import { LametunError } from '../../errors.js';
import type { NodeId } from '../../protocol/node-id.js';

/**
 * Everything that a hub stores, except its own key; the same in every store. Times are milliseconds since 1970, flags 0
 * or 1.
 */

/** One row. Every writer locks it first, so that writers take turns. */
export interface NetworkRecord {
  /** 1, and unique: two hubs that start at the same time cannot both make a network. */
  single: number;
  id: string;
  /** The hub's public key, base64, by which members recognise it. */
  hub_key: string;
  name: string;
  ipv4: string;
  ipv6: string;
  mtu: number;
  /** Random. A restored backup gets a new one, so that all nodes discard their maps. */
  epoch: string;
  /** Grows with every change of the map. */
  revision: number;
  /** `open`: an invitation makes a node a member. `ask`: an administrator approves it first. */
  policy: 'open' | 'ask';
  /** The id of the next node. */
  next_node: NodeId;
  created_at: number;
  /** Nodes that were removed at this revision or earlier may be forgotten: there are no deltas from before it. */
  horizon: number;
}

/**
 * A node is current while it is pending or active. A removed node is kept for a while, for deltas; its key, name and
 * addresses may be used again. No two current nodes share one of these.
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
  /** The revision at which its entry in the map last changed; 0 if it was never in the map. */
  revision: number;
  /** The invitation that it joined with. */
  invite: string | null;
  joined_at: number;
  removed_at: number | null;
}

export interface InviteRecord {
  id: string;
  /** SHA-256 of the secret, hexadecimal; unique. Only the token contains the secret itself. */
  secret_hash: string;
  created_at: number;
  expires_at: number;
  /** How many nodes may join with it. */
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
  /** Pending ones that joined with this invitation. */
  | { readonly pendingBy: string }
  /** In any state. */
  | { readonly ids: readonly NodeId[] }
  /** Changed after this revision, in any state. */
  | { readonly since: number }
  /** Removed at this time or before. */
  | { readonly removedBy: number };

/** What can be read. Rows come in any order unless one is stated. */
export interface ReadTables {
  network(): Promise<NetworkRecord | undefined>;
  /** In the order of their ids. */
  nodes(query: NodeQuery): Promise<NodeRecord[]>;
  /** Removed ones that were in the map, the latest revision first. */
  lastRemoved(limit: number): Promise<NodeRecord[]>;
  /** Whether a removed node had this key. */
  wasRemoved(key: string): Promise<boolean>;
  pendingCount(): Promise<number>;
  /** Names of current nodes that begin with `prefix`. */
  names(prefix: string): Promise<string[]>;
  /** The IPv4 addresses of current nodes. */
  addresses(): Promise<string[]>;
  /** @param nodes all if not given */
  shares(nodes?: readonly NodeId[]): Promise<ShareRecord[]>;
  /** Networks that other current nodes share or offer, with the node's name; ordered by node. */
  claims(except: NodeId): Promise<{ readonly network: string; readonly node: string }[]>;
  invites(): Promise<InviteRecord[]>;
  invite(by: { readonly id: string } | { readonly secretHash: string }): Promise<InviteRecord | undefined>;
  /** Names of all nodes that joined with an invitation, including removed ones, in the order of their ids. */
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

/** The hub's durable storage. What `write` has returned is not lost, whatever happens. */
export interface Store {
  /** @throws StoreUnavailable */
  read<T>(query: (tables: ReadTables) => Promise<T>): Promise<T>;
  /** Everything as it was at one moment. @throws StoreUnavailable */
  snapshot<T>(query: (tables: ReadTables) => Promise<T>): Promise<T>;
  /**
   * Changes something. Writers take turns, including those of other hubs on the same database, and each sees everything
   * that was written before. `work` may run again after the connection was lost, even if it was committed.
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

/** The database is unavailable for now. Nothing was changed. */
export class StoreUnavailable extends LametunError {
  constructor(message: string, options?: ErrorOptions) {
    super('unreachable', message, options);
  }
}
