import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { until } from './wait.js';

/** Debian keeps the server's programs here, outside the PATH, with a folder for each version. */
const FOLDERS = '/usr/lib/postgresql';

/** The folder with the server programs of the newest PostgreSQL, or undefined when none is installed. */
export function postgresPrograms(): string | undefined {
  if (!existsSync(FOLDERS)) return undefined;
  return readdirSync(FOLDERS)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(FOLDERS, version, 'bin'))
    .find((folder) => existsSync(join(folder, 'initdb')));
}

/** A PostgreSQL server for tests, in a temporary folder, on a loopback port. */
export class Postgres {
  readonly port: number;
  /** The folder with all its files, the write-ahead log included. */
  get folder(): string {
    return this.#folder;
  }
  readonly #folder: string;
  readonly #programs: string;
  #databases = 0;

  private constructor(folder: string, programs: string, port: number) {
    this.#folder = folder;
    this.#programs = programs;
    this.port = port;
  }

  /** Creates and starts a server, in about two seconds. As root it needs the user `postgres`, to run as. */
  static async start(): Promise<Postgres> {
    const programs = postgresPrograms();
    if (programs === undefined) throw new Error('PostgreSQL is not installed');
    const folder = mkdtempSync(join(tmpdir(), 'lametun-pg-'));
    const postgres = new Postgres(folder, programs, await freePort());
    if (process.geteuid?.() === 0) {
      const id = (option: string): number =>
        Number(spawnSync('id', [option, 'postgres'], { encoding: 'utf8' }).stdout);
      chownSync(folder, id('-u'), id('-g'));
    }
    try {
      postgres.#run('initdb', [
        '-D',
        join(folder, 'data'),
        '-U',
        'postgres',
        '-A',
        'trust',
        '--no-sync',
        '-E',
        'UTF8',
      ]);
      await postgres.up();
    } catch (error) {
      postgres.#remove();
      throw error;
    }
    return postgres;
  }

  /** Creates an empty database. @returns its URL */
  async database(): Promise<string> {
    const name = `test${++this.#databases}`;
    await this.query(`create database ${name}`);
    return this.url(name);
  }

  /** The Unix socket, which other network namespaces can reach as well. */
  get socket(): string {
    return join(this.#folder, `.s.PGSQL.${this.port}`);
  }

  url = (database: string): string => `postgres://postgres@127.0.0.1:${this.port}/${database}`;

  /** Runs a statement as the superuser, in a database. */
  async query(sql: string, database = 'postgres'): Promise<pg.QueryResult> {
    const client = new pg.Client(this.url(database));
    await client.connect();
    try {
      return await client.query(sql);
    } finally {
      await client.end();
    }
  }

  async up(): Promise<void> {
    // No fsync: tests kill the server but never the machine, so data handed to the kernel is safe.
    const settings = `-p ${this.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${this.#folder} -c fsync=off`;
    this.#run('pg_ctl', [
      '-D',
      join(this.#folder, 'data'),
      '-l',
      join(this.#folder, 'log'),
      '-w',
      '-o',
      settings,
      'start',
    ]);
    await until('PostgreSQL to answer', async () => {
      try {
        await this.query('select 1');
        return true;
      } catch {
        return false;
      }
    });
  }

  /** Stops it. `fast` closes all connections first; `immediate` is like kill -9. */
  down(mode: 'fast' | 'immediate' = 'fast'): void {
    this.#run('pg_ctl', ['-D', join(this.#folder, 'data'), '-m', mode, '-w', 'stop']);
  }

  /** Restarts it without blocking this process. */
  async restart(mode: 'fast' | 'immediate'): Promise<void> {
    const child = spawn(
      ...this.#command('pg_ctl', ['-D', join(this.#folder, 'data'), '-m', mode, '-w', 'restart']),
      {
        stdio: 'ignore',
      },
    );
    const [status] = (await once(child, 'exit')) as [number];
    if (status !== 0) throw new Error(`pg_ctl restart ended with ${status}\n${this.log()}`);
  }

  log = (): string => readFileSync(join(this.#folder, 'log'), 'utf8');

  close(): void {
    try {
      this.down('immediate');
    } catch {} // it is down already
    this.#remove();
  }

  #remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #run(program: string, args: string[]): void {
    // No pipes: the server would inherit them and keep them open.
    const done = spawnSync(...this.#command(program, args), { stdio: 'ignore' });
    if (done.status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${done.status}`);
  }

  #command(program: string, args: string[]): [string, string[]] {
    const path = join(this.#programs, program);
    if (process.geteuid?.() !== 0) return [path, args];
    return ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', '--', path, ...args]];
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
