import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext } from 'node:test';
import { Registry, type RegistryOptions } from '../../src/hub/membership/registry.js';
import type { Store } from '../../src/hub/membership/tables.js';
import { openStore } from '../../src/hub/store/open.js';
import { MemoryStore } from './memory-store.js';
import { Postgres } from './postgres.js';
import { needs } from './requirements.js';

let server: Promise<Postgres> | undefined;
after(async () => (await server)?.close());

/** The PostgreSQL server shared by the tests of a file. */
export function sharedPostgres(): Promise<Postgres> {
  server ??= Postgres.start();
  return server;
}

/** The databases that a hub supports. */
export const DATABASES = ['SQLite', 'PostgreSQL'] as const;
/** The stores with which tests of membership test each behavior. */
export const STORES = ['memory', ...DATABASES] as const;

/** Stores in memory, by name. */
const inMemory = new Map<string, MemoryStore>();

/** Runs a test with the name of an empty store of a kind, or skips it where the machine lacks the database. */
export async function withDatabase(
  t: TestContext,
  kind: (typeof STORES)[number],
  fn: (t: TestContext, database: string) => Promise<void>,
): Promise<void> {
  if (kind === 'memory') {
    const name = `memory:${inMemory.size}`;
    inMemory.set(name, new MemoryStore());
    return fn(t, name);
  }
  if (kind === 'SQLite') return fn(t, join(temporaryFolder(t), 'hub.sqlite'));
  if (needs(t, 'postgres')) await fn(t, await (await sharedPostgres()).database());
}

export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-store-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export async function openTestStore(t: TestContext, database: string, patience?: number): Promise<Store> {
  const store = inMemory.get(database) ?? (await openStore({ database, patience }));
  t.after(() => store.close());
  return store;
}

/** Opens a network in a database. By default its clock stands still. */
export async function openTestNetwork(
  t: TestContext,
  database: string,
  options: Partial<Pick<RegistryOptions, 'ask'>> & {
    ipv4?: string;
    clock?: () => number;
    patience?: number;
  } = {},
): Promise<Registry> {
  return Registry.open(await openTestStore(t, database, options.patience), {
    network: { name: 'test', ranges: () => ({ ipv4: options.ipv4 ?? '10.77.0.0/16', ipv6: 'fd77::/64' }) },
    ask: options.ask,
    hubKey: 'test',
    clock: options.clock ?? (() => 1_000),
    randomId: (bytes) => randomBytes(bytes).toString('hex'),
  });
}
