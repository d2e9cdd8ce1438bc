import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Kysely, Transaction } from 'kysely';
import { LametunError } from '../../errors.js';
import { replaceFile } from '../../linux/files/safe-files.js';
import type { InvitesTable, NetworkTable, NodesTable, Schema, SharesTable } from './schema.js';
import type { Store } from './store.js';

/** A whole database as JSON, the same for SQLite and PostgreSQL. It holds no secret: invitations are hashes in it. */
export interface Backup {
  readonly format: 'lametun hub backup';
  readonly version: 1;
  readonly network: NetworkTable;
  readonly invites: readonly InvitesTable[];
  readonly nodes: readonly NodesTable[];
  readonly shares: readonly SharesTable[];
}

/** Rows in one INSERT: PostgreSQL takes 65 535 parameters, SQLite 32 766. */
const ROWS = 1_000;

/**
 * Ids that may have been given out since a backup was made: nodes that have not come back yet know whose they were, and
 * would refuse somebody else under one.
 */
const IDS_SKIPPED = 1_000_000;
const LAST_ID = 2 ** 32 - 1;

/**
 * Writes everything as it is at one moment to a file, mode 0600: afterwards it is there whole, or not at all.
 *
 * @throws StoreUnavailable; LametunError `usage` when the file cannot be written
 */
export async function backup(store: Store, file: string): Promise<void> {
  const content = await store.snapshot(
    async (db): Promise<Backup> => ({
      format: 'lametun hub backup',
      version: 1,
      network: await theNetwork(db),
      invites: await db.selectFrom('invites').selectAll().orderBy('id').execute(),
      nodes: await db.selectFrom('nodes').selectAll().orderBy('id').execute(),
      shares: await db.selectFrom('shares').selectAll().orderBy('node').orderBy('network').execute(),
    }),
  );
  try {
    // Where others can make files, too, they cannot make this one before us.
    const beside = `${file}.${randomBytes(8).toString('hex')}`;
    replaceFile(file, `${JSON.stringify(content, null, 1)}\n`, { beside });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const isFull = code === 'ENOSPC' || code === 'EDQUOT' || code === 'EIO'; // else another file would do
    throw new LametunError(isFull ? 'state' : 'usage', `the backup cannot be written: ${message}`, {
      cause: error,
    });
  }
}

async function theNetwork(db: Kysely<Schema>): Promise<NetworkTable> {
  const network = await db.selectFrom('network').selectAll().executeTakeFirst();
  if (network !== undefined) return network;
  throw new LametunError('usage', 'this database holds no network yet: no hub has used it');
}

/**
 * Replaces everything by what a backup holds. Nodes take their maps anew, since the network gets a new epoch: what
 * happened after the backup is undone, and its revisions are given out again.
 *
 * @param epoch a random one
 * @returns the network's name, and how many members it has
 * @throws StoreUnavailable
 */
export async function restore(
  store: Store,
  { network, invites, nodes, shares }: Backup,
  epoch: string,
): Promise<{ readonly network: string; readonly nodes: number }> {
  await store.initialise(async (db) => {
    await clear(db);
    await db
      .insertInto('network')
      .values({ ...network, epoch, next_node: Math.min(network.next_node + IDS_SKIPPED, LAST_ID) })
      .execute();
    await insert(db, 'invites', invites);
    await insert(db, 'nodes', nodes);
    await insert(db, 'shares', shares);
  });
  return { network: network.name, nodes: nodes.filter(({ state }) => state !== 'removed').length };
}

/** Deletes all that a hub keeps. */
export async function clear(db: Transaction<Schema>): Promise<void> {
  for (const table of ['shares', 'nodes', 'invites', 'network'] as const)
    await db.deleteFrom(table).execute();
}

async function insert<T extends keyof Schema>(
  db: Transaction<Schema>,
  table: T,
  rows: readonly Schema[T][],
): Promise<void> {
  for (let from = 0; from < rows.length; from += ROWS) {
    await db
      .insertInto(table)
      .values(rows.slice(from, from + ROWS) as never)
      .execute();
  }
}

/** @throws LametunError `usage` when the file is no backup */
export function readBackup(file: string): Backup {
  let content: Partial<Backup>;
  try {
    content = JSON.parse(readFileSync(file, 'utf8')) as Partial<Backup>;
  } catch (error) {
    throw new LametunError('usage', `${file} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  if (content?.format !== 'lametun hub backup')
    throw new LametunError('usage', `${file} is no backup of a hub`);
  if (content.version !== 1)
    throw new LametunError('usage', `${file} was written by another version of lametun: use that one`);
  const { network, invites, nodes, shares } = content;
  const texts = [network?.id, network?.name, network?.hub_key];
  const isWhole =
    texts.every((text) => typeof text === 'string') && [invites, nodes, shares].every(Array.isArray);
  if (!isWhole) throw new LametunError('usage', `${file} is not whole`);
  return content as Backup;
}
