import { closeSync } from 'node:fs';
import {
  CompiledQuery,
  type DatabaseConnection,
  type DatabaseIntrospector,
  type Dialect,
  type Driver,
  type Kysely,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import sqlite, { type Database as SqliteFile, type Statement } from 'node-sqlite3-wasm';
import { openOwnFile } from '../../linux/files/safe-files.js';

/** Kysely's dialect for node-sqlite3-wasm: one connection to one file, used by no other process. */
export class SqliteDialect implements Dialect {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  createAdapter = (): SqliteAdapter => new TransactionalAdapter();
  createDriver = (): Driver => new SqliteFileDriver(this.#path);
  createQueryCompiler = (): SqliteQueryCompiler => new SqliteQueryCompiler();
  createIntrospector = (db: Kysely<unknown>): DatabaseIntrospector => new SqliteIntrospector(db);
}

/** SQLite makes tables in transactions too, so a migration happens as a whole or not at all. */
class TransactionalAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class SqliteFileDriver implements Driver {
  readonly #path: string;
  #connection: SqliteFileConnection | undefined;
  /** The queue for the connection; undefined while it is free. */
  #waiting: (() => void)[] | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async init(): Promise<void> {
    closeSync(openOwnFile(this.#path, 'append')); // SQLite would let others read it
    const file = new sqlite.Database(this.#path);
    try {
      // WAL in exclusive mode needs no shared memory, which this build does not have. FULL: a commit reaches the disk.
      file.exec('pragma locking_mode = exclusive');
      file.exec('pragma journal_mode = wal');
      file.exec('pragma synchronous = full');
      file.exec('pragma foreign_keys = on');
      file.exec('pragma busy_timeout = 0');
    } catch (error) {
      file.close();
      throw error;
    }
    this.#connection = new SqliteFileConnection(file);
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    if (this.#waiting === undefined) this.#waiting = [];
    else await new Promise<void>((resolve) => this.#waiting!.push(resolve));
    return this.#connection!;
  }

  async releaseConnection(): Promise<void> {
    const next = this.#waiting?.shift();
    if (next === undefined) this.#waiting = undefined;
    else next();
  }

  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'));
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('commit'));
  }

  async rollbackTransaction(): Promise<void> {
    this.#connection!.rollback();
  }

  async destroy(): Promise<void> {
    this.#connection?.close();
    this.#connection = undefined;
  }
}

/** How many prepared statements are kept. There are fewer different ones. */
const STATEMENTS = 100;

class SqliteFileConnection implements DatabaseConnection {
  readonly #file: SqliteFile;
  readonly #statements = new Map<string, Statement>();

  constructor(file: SqliteFile) {
    this.#file = file;
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const values = parameters as (number | string | null)[];
    const statement = this.#statement(sql);
    try {
      if (/^\s*(select|with|pragma)|\breturning\b/i.test(sql)) return { rows: statement.all(values) as R[] };
      return { rows: [], numAffectedRows: BigInt(statement.run(values).changes) };
    } catch (error) {
      this.#forget(sql, statement);
      throw error;
    }
  }

  // biome-ignore lint/correctness/useYield: there is nothing to stream
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('not supported');
  }

  /** SQLite rolls some failed transactions back by itself, for instance on a full disk. */
  rollback(): void {
    if (this.#file.inTransaction) this.#file.exec('rollback');
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
