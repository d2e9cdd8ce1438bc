import { closeSync } from 'node:fs';
import {
  type DatabaseConnection,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteDialect,
  type SqliteDialectConfig,
  SqliteDriver,
  type SqliteStatement,
} from 'kysely';
import sqlite, { type Database, type Statement } from 'node-sqlite3-wasm';
import { deferred } from '../../deferred.js';
import { openOwnFile } from '../../linux/files/safe-files.js';

/** Kysely's dialect for node-sqlite3-wasm: one connection to one file, used by no other process. */
export class SqliteFileDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig;

  constructor(path: string) {
    const config = { database: async () => new SqliteFile(path) };
    super(config);
    this.#config = config;
  }

  override createDriver(): SqliteDriver {
    return new QueueingDriver(this.#config);
  }

  override createAdapter(): SqliteAdapter {
    return new TransactionalAdapter();
  }
}

/** Queues callers for the connection. SqliteDriver alone wakes all of them each time, at a cost quadratic in their number. */
class QueueingDriver extends SqliteDriver {
  #last = Promise.resolve();
  #release = (): void => {};

  override async acquireConnection(): Promise<DatabaseConnection> {
    const before = this.#last;
    const turn = deferred<void>();
    this.#last = turn.promise;
    await before;
    this.#release = turn.resolve;
    return super.acquireConnection();
  }

  override async releaseConnection(): Promise<void> {
    await super.releaseConnection();
    this.#release();
  }
}

/** SQLite makes tables in transactions too, so a migration happens as a whole or not at all. */
class TransactionalAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

/** How many prepared statements are kept. There are fewer different ones. */
const STATEMENTS = 100;

class SqliteFile implements SqliteDatabase {
  readonly #file: Database;
  readonly #statements = new Map<string, Statement>();

  constructor(path: string) {
    closeSync(openOwnFile(path, 'append')); // SQLite would let others read it
    this.#file = new sqlite.Database(path);
    try {
      // WAL in exclusive mode needs no shared memory, which this build does not have. FULL: a commit reaches the disk.
      this.#file.exec('pragma locking_mode = exclusive');
      this.#file.exec('pragma journal_mode = wal');
      this.#file.exec('pragma synchronous = full');
      this.#file.exec('pragma foreign_keys = on');
      this.#file.exec('pragma busy_timeout = 0');
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  prepare(sql: string): SqliteStatement {
    const use = <T>(run: (statement: Statement) => T): T => {
      const statement = this.#statement(sql);
      try {
        return run(statement);
      } catch (error) {
        this.#forget(sql, statement);
        throw error;
      }
    };
    return {
      reader: /^\s*(select|with|pragma)|\breturning\b/i.test(sql),
      all: (values) => use((statement) => statement.all(values as Values)),
      run: (values) => {
        // SQLite rolls some failed transactions back by itself, for instance on a full disk.
        if (sql === 'rollback' && !this.#file.inTransaction) return { changes: 0, lastInsertRowid: 0 };
        return use((statement) => statement.run(values as Values));
      },
      iterate: () => {
        throw new Error('not supported');
      },
    };
  }

  close(): void {
    for (const [sql, statement] of this.#statements) this.#forget(sql, statement);
    this.#file.close();
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#file.prepare(sql);
      if (this.#statements.size >= STATEMENTS) this.#forget(...this.#statements.entries().next().value!);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #forget(sql: string, statement: Statement): void {
    this.#statements.delete(sql);
    try {
      statement.finalize();
    } catch {} // it repeats the last error
  }
}

type Values = (number | string | null)[];
