import { type Kysely, type Migration, sql } from 'kysely';

/**
 * All that a hub keeps but its own key, the same in SQLite and PostgreSQL: only types that both have. Times are
 * milliseconds since 1970, flags 0 or 1, lists JSON.
 */
export interface Schema {
  network: NetworkTable;
  nodes: NodesTable;
  invites: InvitesTable;
  shares: SharesTable;
}

/** One row. Whoever writes anything holds it first, so that writers go one after the other. */
export interface NetworkTable {
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
  /** `open`: who has an invitation is in. `ask`: an administrator lets it in. */
  policy: 'open' | 'ask';
  /** The id of the next node. */
  next_node: number;
  created_at: number;
  /** Removed nodes of this revision and before may have been forgotten: from before it there are no deltas. */
  horizon: number;
}

/** Nodes that were removed stay for a while, as what deltas tell of them; their key, name and addresses may be given again. */
export interface NodesTable {
  id: number;
  key: string;
  name: string;
  /** Null until the node is let in, as is `ipv6`. */
  ipv4: string | null;
  ipv6: string | null;
  /** Its machine has no IPv6. */
  ipv4_only: number;
  admin: number;
  state: 'pending' | 'active' | 'removed';
  /** The network's revision at which the map last changed for its sake; 0 when it never was in it. */
  revision: number;
  /** By which it came. */
  invite: string | null;
  joined_at: number;
  removed_at: number | null;
}

export interface InvitesTable {
  id: string;
  /** SHA-256 of the secret, hexadecimal. The secret itself is in the token only. */
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

export interface SharesTable {
  node: number;
  network: string;
  state: 'approved' | 'pending' | 'refused';
  /** Why it is refused. */
  why: string | null;
}

/** In their order; what has been published is never changed again. */
export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-networks': {
    async up(db: Kysely<never>): Promise<void> {
      await db.schema
        .createTable('network')
        .addColumn('single', 'integer', (c) => c.notNull().unique())
        .addColumn('id', 'text', (c) => c.primaryKey())
        .addColumn('hub_key', 'text', (c) => c.notNull())
        .addColumn('name', 'text', (c) => c.notNull())
        .addColumn('ipv4', 'text', (c) => c.notNull())
        .addColumn('ipv6', 'text', (c) => c.notNull())
        .addColumn('mtu', 'integer', (c) => c.notNull())
        .addColumn('epoch', 'text', (c) => c.notNull())
        .addColumn('revision', 'bigint', (c) => c.notNull())
        .addColumn('policy', 'text', (c) => c.notNull())
        .addColumn('next_node', 'bigint', (c) => c.notNull())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('horizon', 'bigint', (c) => c.notNull())
        .execute();
      await db.schema
        .createTable('invites')
        .addColumn('id', 'text', (c) => c.primaryKey())
        .addColumn('secret_hash', 'text', (c) => c.notNull().unique())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('expires_at', 'bigint', (c) => c.notNull())
        .addColumn('max_uses', 'integer', (c) => c.notNull())
        .addColumn('admin', 'integer', (c) => c.notNull())
        .addColumn('shares', 'text', (c) => c.notNull())
        .addColumn('revoked_at', 'bigint')
        .addColumn('uses', 'integer', (c) => c.notNull())
        .execute();
      await db.schema
        .createTable('nodes')
        .addColumn('id', 'bigint', (c) => c.primaryKey())
        .addColumn('key', 'text', (c) => c.notNull())
        .addColumn('name', 'text', (c) => c.notNull())
        .addColumn('ipv4', 'text')
        .addColumn('ipv6', 'text')
        .addColumn('ipv4_only', 'integer', (c) => c.notNull())
        .addColumn('admin', 'integer', (c) => c.notNull())
        .addColumn('state', 'text', (c) => c.notNull())
        .addColumn('revision', 'bigint', (c) => c.notNull())
        .addColumn('invite', 'text', (c) => c.references('invites.id'))
        .addColumn('joined_at', 'bigint', (c) => c.notNull())
        .addColumn('removed_at', 'bigint')
        .execute();
      await db.schema.createIndex('nodes_revision').on('nodes').column('revision').execute();
      await db.schema.createIndex('nodes_invite').on('nodes').column('invite').execute();
      for (const column of ['key', 'name', 'ipv4', 'ipv6'] as const) {
        // Of those that are members: the last line of defence, should the logic above it be wrong.
        await sql`create unique index ${sql.raw(`nodes_${column}`)} on nodes (${sql.ref(column)}) where state <> 'removed'`.execute(
          db,
        );
      }
      await db.schema
        .createTable('shares')
        .addColumn('node', 'bigint', (c) => c.notNull().references('nodes.id'))
        .addColumn('network', 'text', (c) => c.notNull())
        .addColumn('state', 'text', (c) => c.notNull())
        .addColumn('why', 'text')
        .addPrimaryKeyConstraint('shares_key', ['node', 'network'])
        .execute();
    },
  },
};
