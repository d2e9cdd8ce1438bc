import { existsSync, rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kysely } from 'kysely';
import { LametunError } from '../../errors.js';
import { lockFile } from '../../linux/files/file-lock.js';
import { safeDirectory } from '../../linux/files/safe-files.js';
import type { Log } from '../../log.js';
import { postgresDialect } from './postgres.js';
import type { Schema } from './schema.js';
import { SqliteFileDialect } from './sqlite.js';
import { SqlStore } from './store.js';
import { troubleOf } from './trouble.js';

export interface StoreOptions {
  /** `postgres://USER:PASSWORD@HOST/DATABASE`, or the path of an SQLite file, which is made if missing. */
  readonly database: string;
  readonly log?: Pick<Log, 'error'> | undefined;
  /** How long a request waits for an unreachable server, milliseconds; default eight seconds. */
  readonly patience?: number | undefined;
  /** The error for a database without tables; if not given, the tables are made. */
  readonly absent?: (() => Error) | undefined;
  /** Ends the wait for an unreachable database. */
  readonly signal?: AbortSignal | undefined;
}

const RETRY_INTERVAL = 500; // milliseconds
const SAY_AGAIN = 60_000;

/**
 * Opens the database and updates its tables. An SQLite file is then locked by this process. For an unreachable PostgreSQL
 * server it waits.
 *
 * @throws LametunError `busy` when another process uses the file, `state` when it is damaged or of a newer lametun,
 * `usage` when the server refuses the connection
 */
export async function openStore(options: StoreOptions): Promise<SqlStore> {
  return isPostgres(options.database) ? openPostgres(options) : openSqlite(options);
}

export const isPostgres = (database: string): boolean => /^postgres(ql)?:\/\//.test(database);

async function openSqlite({ database: path, log, absent }: StoreOptions): Promise<SqlStore> {
  if (absent !== undefined && !existsSync(path)) throw absent();
  try {
    safeDirectory(dirname(path));
    const lock = lockFile(`${path}.owner`, `the database ${path}`);
    // node-sqlite3-wasm marks an open file with a directory, which a killed process leaves behind.
    if (existsSync(`${path}.lock`)) rmdirSync(`${path}.lock`);
    return await migrated(
      new SqlStore(new Kysely<Schema>({ dialect: new SqliteFileDialect(path) }), 'sqlite', {
        ...{ name: `the database ${path}`, lock, log },
      }),
      absent,
    );
  } catch (error) {
    if (error instanceof LametunError) throw error;
    const what = `the database ${path} cannot be opened: ${(error as Error).message}`;
    const hint = troubleOf(error) === 'no-room' ? ': is the disk full?' : '';
    throw new LametunError('state', `${what}${hint}`, { cause: error });
  }
}

async function migrated(store: SqlStore, absent: StoreOptions['absent']): Promise<SqlStore> {
  try {
    if (absent !== undefined && !(await store.hasTables())) throw absent();
    await store.migrate();
    return store;
  } catch (error) {
    await store.close().catch(() => {});
    throw error;
  }
}

async function openPostgres({ database, log, patience, absent, signal }: StoreOptions): Promise<SqlStore> {
  const where = databaseName(database);
  for (let said = Number.NEGATIVE_INFINITY; ; ) {
    try {
      const db = new Kysely<Schema>({ dialect: postgresDialect(database) });
      return await migrated(
        new SqlStore(db, 'postgres', { name: `the database ${where}`, log, patience }),
        absent,
      );
    } catch (error) {
      if (error instanceof LametunError) throw error;
      if (troubleOf(error) === 'fatal') {
        throw new LametunError(
          'usage',
          `the database ${where} refused the connection: ${(error as Error).message}`,
          {
            cause: error,
          },
        );
      }
      if (performance.now() - said > SAY_AGAIN) {
        said = performance.now();
        log?.error(`Waiting for the database ${where}: ${(error as Error).message}`);
      }
      await sleep(RETRY_INTERVAL, undefined, { signal });
    }
  }
}

/** A database's path, or its URL without secrets. */
export function databaseName(database: string): string {
  if (!isPostgres(database)) return database;
  try {
    const { hostname, port, pathname } = new URL(database);
    return `${hostname || 'on this machine'}${port === '' ? '' : `:${port}`}${pathname}`;
  } catch {
    throw new LametunError('usage', '--database is not a URL: write postgres://USER:PASSWORD@HOST/DATABASE');
  }
}
