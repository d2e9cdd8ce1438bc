import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { until } from './wait.js';

/** Debian keeps the server's programs out of the PATH, each version in a folder of its own. */
const FOLDERS = '/usr/lib/postgresql';

/** The folder of the newest PostgreSQL's server programs, or undefined when there is none. */
export function postgresPrograms(): string | undefined {
  if (!existsSync(FOLDERS)) return undefined;
  return readdirSync(FOLDERS)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(FOLDERS, version, 'bin'))
    .find((folder) => existsSync(join(folder, 'initdb')));
}

/** A PostgreSQL server of a test's own, in a temporary folder, on a port of the loopback. */
export class Postgres {
  readonly port: number;
  /** Its own, with all that it has written, the write-ahead log included. */
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

  /** Makes and starts one: two seconds. The server does not run as root, and so needs the user `postgres`. */
  static async start(): Promise<Postgres> {
    const programs = postgresPrograms();
    if (programs === undefined) throw new Error('there is no PostgreSQL here');
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

  /** A new, empty database: its URL. */
  async database(): Promise<string> {
    const name = `test${++this.#databases}`;
    await this.query(`create database ${name}`);
    return this.url(name);
  }

  /** The unix socket, which other network namespaces reach as well. */
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
    // It is killed, and the machine never: what it has written to the kernel is safe.
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

  /** Stops it: `fast` ends all connections first, `immediate` is as good as kill -9. */
  down(mode: 'fast' | 'immediate' = 'fast'): void {
    this.#run('pg_ctl', ['-D', join(this.#folder, 'data'), '-m', mode, '-w', 'stop']);
  }

  /** Stops and starts it while this process goes on with other things. */
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
    // What the server inherits stays open for as long as it runs: no pipes.
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
