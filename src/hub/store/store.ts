import { setTimeout as sleep } from 'node:timers/promises';
import { DEFAULT_MIGRATION_TABLE, type Kysely, Migrator, sql } from 'kysely';
import { LametunError } from '../../errors.js';
import type { FileLock } from '../../linux/files/file-lock.js';
import type { Log } from '../../log.js';
import {
  type NetworkRecord,
  type ReadTables,
  type Store,
  StoreUnavailable,
  type Tables,
} from '../membership/tables.js';
import { MIGRATIONS, type Schema, versionOf } from './schema.js';
import { SqlTables } from './sql-tables.js';
import { troubleOf } from './trouble.js';

/** How long a request waits for an unreachable database by default, milliseconds. */
const PATIENCE = 8_000;
const RETRY_INTERVAL = 200;
const CONFLICTS = 20;

/** A store in SQLite or PostgreSQL. It waits for an unreachable server, and repeats transactions that conflict. */
export class SqlStore implements Store {
  readonly db: Kysely<Schema>;
  readonly #tables: SqlTables;
  readonly #kind: 'sqlite' | 'postgres';
  readonly #name: string;
  readonly #lock: FileLock | undefined;
  readonly #log: Pick<Log, 'error'> | undefined;
  readonly #patience: number;
  /** The last of the queued writes. */
  #writes: Promise<unknown> = Promise.resolve();
  /** Since when, and when last, the database was unreachable. */
  #failing: { since: number; last: number } | undefined;
  #closed = false;

  constructor(
    db: Kysely<Schema>,
    kind: 'sqlite' | 'postgres',
    {
      name = 'the database',
      lock,
      log,
      patience = PATIENCE,
    }: {
      /** For messages: `the database /var/lib/lametun/hub.sqlite`. */
      readonly name?: string;
      readonly lock?: FileLock;
      readonly log?: Pick<Log, 'error'> | undefined;
      readonly patience?: number | undefined;
    } = {},
  ) {
    this.db = db;
    this.#tables = new SqlTables(db);
    this.#kind = kind;
    this.#name = name;
    this.#lock = lock;
    this.#log = log;
    this.#patience = patience;
  }

  read<T>(query: (tables: ReadTables) => Promise<T>): Promise<T> {
    return this.#persist(() => query(this.#tables));
  }

  /** Each writer locks the network's row, so that writers of other hubs wait too. */
  write<T>(
    work: (tables: Tables, network: NetworkRecord) => Promise<T>,
    committed?: (value: T) => void,
  ): Promise<T> {
    const run = (): Promise<T> =>
      this.#persist(() =>
        this.db.transaction().execute(async (db) => {
          const select = db.selectFrom('network').selectAll();
          const locked = this.#kind === 'postgres' ? select.forUpdate() : select;
          return work(new SqlTables(db), await locked.executeTakeFirstOrThrow());
        }),
      );
    const done = this.#writes.then(run).then((value) => {
      committed?.(value);
      return value;
    });
    this.#writes = done.catch(() => {});
    return done;
  }

  snapshot<T>(query: (tables: ReadTables) => Promise<T>): Promise<T> {
    return this.#persist(() => {
      const transaction = this.db.transaction();
      const level =
        this.#kind === 'postgres' ? transaction.setIsolationLevel('repeatable read') : transaction;
      return level.execute((db) => query(new SqlTables(db)));
    });
  }

  initialise<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    return this.#persist(() => this.db.transaction().execute((db) => work(new SqlTables(db))));
  }

  /**
   * Updates the tables to this program's schema.
   *
   * @throws LametunError `state` when a newer program has changed them
   */
  async migrate(): Promise<void> {
    const migrator = new Migrator({
      db: this.db,
      provider: { getMigrations: async () => ({ ...MIGRATIONS }) },
    });
    const unknown = (await this.#migrations()).find((name) => !Object.hasOwn(MIGRATIONS, name));
    if (unknown !== undefined) {
      const newer = versionOf(unknown);
      throw new LametunError(
        'state',
        `${this.#name} was written by ${newer === undefined ? 'a newer lametun' : `lametun ${newer}`} (it has the tables of ${unknown}): install that version or a newer one, or restore a backup from before the update into another --database`,
      );
    }
    const { error } = await migrator.migrateToLatest();
    if (error !== undefined) throw error;
  }

  /** The migrations that the tables have had. */
  async #migrations(): Promise<string[]> {
    const tables = await this.db.introspection.getTables({ withInternalKyselyTables: true });
    if (!tables.some(({ name }) => name === DEFAULT_MIGRATION_TABLE)) return [];
    const rows = await sql<{ name: string }>`select name from ${sql.table(DEFAULT_MIGRATION_TABLE)}`.execute(
      this.db,
    );
    return rows.rows.map(({ name }) => name);
  }

  /** Whether a hub has used the database. */
  async hasTables(): Promise<boolean> {
    const tables = await this.db.introspection.getTables();
    return tables.some(({ name }) => name === 'network');
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#writes;
      await this.db.destroy();
    } finally {
      this.#lock?.release();
    }
  }

  async #persist<T>(attempt: () => Promise<T>): Promise<T> {
    const failing = this.#failing;
    if (
      failing !== undefined &&
      this.#isHopeless() &&
      performance.now() - failing.last < RETRY_INTERVAL * 5
    ) {
      throw new StoreUnavailable('the database is unreachable'); // another request has just tried
    }
    for (let conflicts = 0; ; ) {
      try {
        const value = await attempt();
        if (this.#failing !== undefined) this.#log?.error('The database is reachable again');
        this.#failing = undefined;
        return value;
      } catch (error) {
        if (error instanceof LametunError) throw error;
        const trouble = this.#closed ? 'fatal' : troubleOf(error);
        if (trouble === 'fatal') throw error;
        if (trouble === 'no-room') {
          throw new StoreUnavailable('the database cannot write: is the disk full?', { cause: error });
        }
        if (trouble === 'conflict' && ++conflicts <= CONFLICTS) {
          await sleep(Math.random() * 10 * conflicts);
          continue;
        }
        if (this.#failing === undefined)
          this.#log?.error(`The database is unreachable: ${(error as Error).message}`);
        this.#failing = { since: this.#failing?.since ?? performance.now(), last: performance.now() };
        if (this.#isHopeless()) throw new StoreUnavailable('the database is unreachable', { cause: error });
        await sleep(RETRY_INTERVAL * (0.5 + Math.random()));
      }
    }
  }

  #isHopeless(): boolean {
    return this.#failing !== undefined && performance.now() - this.#failing.since > this.#patience;
  }
}
