import { PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely';
import pg from 'pg';

/** Milliseconds. A server that does not answer in time is unreachable, or hangs. */
const CONNECT_TIMEOUT = 5_000;
const STATEMENT_TIMEOUT = 8_000;
const LOCK_TIMEOUT = 5_000;
const QUERY_TIMEOUT = 10_000; // if even the server's own timeout is not reported

const CONNECTIONS = 4;

/** PostgreSQL's type number for bigint. All values here are below 2^53. */
const INT8 = 20;

/**
 * Set on every connection: with other settings of a server or a role, an acknowledged commit could be lost, or other hubs
 * could wait for a hub that is gone.
 */
const SETTINGS =
  `set synchronous_commit = on; set statement_timeout = ${STATEMENT_TIMEOUT}; set lock_timeout = ${LOCK_TIMEOUT};` +
  `set idle_in_transaction_session_timeout = ${STATEMENT_TIMEOUT}`;

/** @param url `postgres://...`; it may contain a password, and never appears in messages */
export function postgresDialect(url: string): PostgresDialect {
  const pool = new pg.Pool({
    connectionString: url,
    max: CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    query_timeout: QUERY_TIMEOUT,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    application_name: 'lametun hub',
    types: {
      getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
        oid === INT8 ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
    },
  });
  pool.on('error', () => {}); // an idle connection ended; the next query opens another
  return new PostgresDialect({ pool: new StrictPool(pool) });
}

/** A pool that drops a connection after an error that leaves its state in doubt. */
class StrictPool implements PostgresPool {
  readonly #pool: pg.Pool;
  readonly #ready = new WeakSet<pg.PoolClient>();

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async connect(): Promise<PostgresPoolClient> {
    const client = await this.#pool.connect();
    if (!this.#ready.has(client)) {
      try {
        await client.query(SETTINGS);
      } catch (error) {
        client.release(true);
        throw error;
      }
      this.#ready.add(client);
    }
    let doubtful = false;
    const onError = (): void => {
      doubtful = true;
    };
    client.on('error', onError); // without a listener the process would end
    const query = async (text: string, values: readonly unknown[]): Promise<unknown> => {
      try {
        return await client.query(text, values as unknown[]);
      } catch (error) {
        // An SQLSTATE of five characters: the server answered, and the connection is fine.
        if (!/^[0-9A-Z]{5}$/.test(String((error as { code?: unknown }).code))) doubtful = true;
        throw error;
      }
    };
    const release = (): void => {
      client.off('error', onError);
      client.release(doubtful);
    };
    return { query, release } as unknown as PostgresPoolClient;
  }

  async end(): Promise<void> {
    await this.#pool.end();
  }
}
