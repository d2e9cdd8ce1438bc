import type { Kysely, SelectQueryBuilder } from 'kysely';
import { LametunError } from '../../errors.js';
import type {
  Contents,
  InviteRecord,
  NetworkRecord,
  NodeQuery,
  NodeRecord,
  ShareRecord,
  Tables,
} from '../membership/tables.js';
import type { Schema } from './schema.js';

/** Rows per statement: PostgreSQL allows 65 535 parameters, SQLite 32 766. */
const ROWS = 1_000;

/** The tables, in SQL that both SQLite and PostgreSQL understand: in a transaction, or for single queries. */
export class SqlTables implements Tables {
  readonly #db: Kysely<Schema>;

  constructor(db: Kysely<Schema>) {
    this.#db = db;
  }

  network(): Promise<NetworkRecord | undefined> {
    return this.#db.selectFrom('network').selectAll().executeTakeFirst();
  }

  async nodes(query: NodeQuery): Promise<NodeRecord[]> {
    if (typeof query === 'object' && 'ids' in query && query.ids.length === 0) return []; // no SQL for PostgreSQL
    return this.#where(query).selectAll().orderBy('id').execute();
  }

  #where(query: NodeQuery): SelectQueryBuilder<Schema, 'nodes', object> {
    const all = this.#db.selectFrom('nodes');
    const current = all.where('state', '!=', 'removed');
    if (query === 'current') return current;
    if ('key' in query) return current.where('key', '=', query.key);
    if ('name' in query) return current.where('name', '=', query.name);
    if ('ipv4' in query) return current.where('ipv4', '=', query.ipv4);
    if ('pendingBy' in query) return all.where('state', '=', 'pending').where('invite', '=', query.pendingBy);
    if ('ids' in query) return all.where('id', 'in', query.ids);
    if ('since' in query) return all.where('revision', '>', query.since);
    return all.where('state', '=', 'removed').where('removed_at', '<=', query.removedBy);
  }

  lastRemoved(limit: number): Promise<NodeRecord[]> {
    const removed = this.#db.selectFrom('nodes').selectAll().where('state', '=', 'removed');
    return removed.where('revision', '>', 0).orderBy('revision', 'desc').limit(limit).execute();
  }

  async wasRemoved(key: string): Promise<boolean> {
    const removed = this.#db.selectFrom('nodes').select('id').where('state', '=', 'removed');
    return (await removed.where('key', '=', key).executeTakeFirst()) !== undefined;
  }

  async pendingCount(): Promise<number> {
    const pending = this.#db.selectFrom('nodes').where('state', '=', 'pending');
    const { count } = await pending.select((eb) => eb.fn.countAll().as('count')).executeTakeFirstOrThrow();
    return Number(count);
  }

  async names(prefix: string): Promise<string[]> {
    const similar = this.#where('current').select('name').where('name', 'like', `${prefix}%`);
    return (await similar.execute()).map(({ name }) => name);
  }

  async addresses(): Promise<string[]> {
    const taken = this.#where('current').select('ipv4').where('ipv4', 'is not', null);
    return (await taken.execute()).map(({ ipv4 }) => ipv4!);
  }

  async shares(nodes?: readonly number[]): Promise<ShareRecord[]> {
    if (nodes?.length === 0) return [];
    const all = this.#db.selectFrom('shares').selectAll();
    return (nodes === undefined ? all : all.where('node', 'in', nodes)).execute();
  }

  claims(except: number): Promise<{ network: string; node: string }[]> {
    return this.#db
      .selectFrom('shares')
      .innerJoin('nodes', 'nodes.id', 'shares.node')
      .select(['shares.network', 'nodes.name as node'])
      .where('shares.node', '!=', except)
      .where('shares.state', '!=', 'refused')
      .where('nodes.state', '!=', 'removed')
      .orderBy('shares.node')
      .execute();
  }

  invites(): Promise<InviteRecord[]> {
    return this.#db.selectFrom('invites').selectAll().execute();
  }

  invite(by: { readonly id: string } | { readonly secretHash: string }): Promise<InviteRecord | undefined> {
    const all = this.#db.selectFrom('invites').selectAll();
    const one = 'id' in by ? all.where('id', '=', by.id) : all.where('secret_hash', '=', by.secretHash);
    return one.executeTakeFirst();
  }

  async invited(): Promise<{ invite: string; name: string }[]> {
    const nodes = this.#db.selectFrom('nodes').select(['invite', 'name']).where('invite', 'is not', null);
    return (await nodes.orderBy('id').execute()).map(({ invite, name }) => ({ invite: invite!, name }));
  }

  async contents(): Promise<Contents> {
    const network = await this.network();
    if (network === undefined)
      throw new LametunError('usage', 'this database contains no network: no hub has used it yet');
    return {
      network,
      invites: await this.#db.selectFrom('invites').selectAll().orderBy('id').execute(),
      nodes: await this.#db.selectFrom('nodes').selectAll().orderBy('id').execute(),
      shares: await this.#db.selectFrom('shares').selectAll().orderBy('node').orderBy('network').execute(),
    };
  }

  async insertNetwork(network: NetworkRecord): Promise<void> {
    const insert = this.#db.insertInto('network').values(network);
    await insert.onConflict((c) => c.doNothing()).execute();
  }

  async updateNetwork(set: Partial<NetworkRecord>): Promise<void> {
    await this.#db.updateTable('network').set(set).execute();
  }

  insertNode(node: NodeRecord): Promise<void> {
    return this.#insert('nodes', [node]);
  }

  async updateNode(id: number, set: Partial<NodeRecord>): Promise<void> {
    await this.#db.updateTable('nodes').set(set).where('id', '=', id).execute();
  }

  async deleteNodes(ids: readonly number[]): Promise<void> {
    for (const some of chunks(ids)) await this.#db.deleteFrom('nodes').where('id', 'in', some).execute();
  }

  async replaceShares(node: number, shares: readonly ShareRecord[]): Promise<void> {
    await this.#db.deleteFrom('shares').where('node', '=', node).execute();
    await this.#insert('shares', shares);
  }

  async insertInvite(invite: InviteRecord): Promise<void> {
    const insert = this.#db.insertInto('invites').values(invite);
    await insert.onConflict((c) => c.doNothing()).execute();
  }

  async updateInvite(id: string, set: Partial<InviteRecord>): Promise<void> {
    await this.#db.updateTable('invites').set(set).where('id', '=', id).execute();
  }

  async deleteInvites(ids: readonly string[]): Promise<void> {
    for (const some of chunks(ids)) await this.#db.deleteFrom('invites').where('id', 'in', some).execute();
  }

  async moveTimes({ from, to, by }: { from: number; to: number; by: number }): Promise<void> {
    await this.#db
      .updateTable('invites')
      .set((eb) => ({ created_at: eb('created_at', '+', by), expires_at: eb('expires_at', '+', by) }))
      .where('created_at', '>=', from)
      .where('created_at', '<=', to)
      .execute();
    await this.#db
      .updateTable('invites')
      .set((eb) => ({ revoked_at: eb('revoked_at', '+', by) }))
      .where('revoked_at', '>=', from)
      .where('revoked_at', '<=', to)
      .execute();
    for (const column of ['joined_at', 'removed_at'] as const)
      await this.#db
        .updateTable('nodes')
        .set((eb) => ({ [column]: eb(column, '+', by) }))
        .where(column, '>=', from)
        .where(column, '<=', to)
        .execute();
  }

  async replaceContents({ network, invites, nodes, shares }: Contents): Promise<void> {
    for (const table of ['shares', 'nodes', 'invites', 'network'] as const)
      await this.#db.deleteFrom(table).execute();
    await this.#insert('network', [network]);
    await this.#insert('invites', invites);
    await this.#insert('nodes', nodes);
    await this.#insert('shares', shares);
  }

  async #insert<T extends keyof Schema>(table: T, rows: readonly Schema[T][]): Promise<void> {
    for (const some of chunks(rows))
      await this.#db
        .insertInto(table)
        .values(some as never)
        .execute();
  }
}

const chunks = <T>(rows: readonly T[]): T[][] =>
  Array.from({ length: Math.ceil(rows.length / ROWS) }, (_, i) => rows.slice(i * ROWS, (i + 1) * ROWS));
