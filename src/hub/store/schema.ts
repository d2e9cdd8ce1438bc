import { type Kysely, type Migration, sql } from 'kysely';
import type { InviteRecord, NetworkRecord, NodeRecord, ShareRecord } from '../membership/tables.js';

/** Only types that both SQLite and PostgreSQL have. */
export interface Schema {
  network: NetworkRecord;
  nodes: NodeRecord;
  invites: InviteRecord;
  shares: ShareRecord;
}

/** @returns the version of lametun in a migration's name */
export const versionOf = (migration: string): string | undefined => /-(\d+\.\d+\.\d+)$/.exec(migration)?.[1];

/**
 * In this order. A published migration never changes. Names end with the version of lametun that brings the migration, such
 * as `0002-groups-0.2.0`, so that an older one can say who wrote the database. The first is of 0.1.0.
 */
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
        // For members only: the last line of defence if the logic above is wrong.
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
