import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Postgres } from '../../../tests/kit/postgres.js';
import { needs } from '../../../tests/kit/requirements.js';
import {
  DATABASES,
  openTestNetwork,
  openTestStore,
  STORES,
  temporaryFolder,
  withDatabase,
} from '../../../tests/kit/stores.js';
import { until } from '../../../tests/kit/wait.js';
import type { LametunError } from '../../errors.js';
import { addInvite } from '../membership/invites.js';
import { join as joinNetwork } from '../membership/nodes.js';
import type { Registry } from '../membership/registry.js';
import { StoreUnavailable } from '../membership/tables.js';
import { backup, readBackup, restore } from './backup.js';
import { openStore } from './open.js';

function inEveryStore(name: string, fn: (t: TestContext, database: string) => Promise<void>): void {
  for (const kind of STORES) test(`${kind}: ${name}`, (t) => withDatabase(t, kind, fn));
}

const addNode = (registry: Registry, key: string): Promise<number> =>
  registry.change((change) =>
    joinNetwork(change, { key, secretHash: 'secret', name: key, shares: ['192.168.1.0/24'] }),
  );

async function network(t: TestContext, database: string, patience?: number): Promise<Registry> {
  const registry = await openTestNetwork(t, database, patience === undefined ? {} : { patience });
  await registry.change((change) =>
    addInvite(change, {
      id: 'all',
      secretHash: 'secret',
      expiresAt: 1e12,
      reusable: true,
      admin: false,
      shares: ['192.168.0.0/16'],
    }),
  );
  return registry;
}

inEveryStore('written data is there after reopening', async (t, database) => {
  const registry = await network(t, database);
  await addNode(registry, 'a');
  await registry.store.close();
  const again = await openTestNetwork(t, database);
  assert.deepEqual(again.info, registry.info);
  assert.deepEqual(again.members.version, registry.members.version);
  assert.equal(again.members.byKey('a')?.row.name, 'a');
});

inEveryStore('a change that throws changes nothing, and uses no revision', async (t, database) => {
  const registry = await network(t, database);
  const { revision } = registry.members.version;
  await assert.rejects(
    registry.change(async (change) => {
      await joinNetwork(change, { key: 'x', secretHash: 'secret', name: 'x', shares: [] });
      throw new Error('on purpose');
    }),
    /on purpose/,
  );
  assert.equal(await addNode(registry, 'a'), 1);
  assert.equal(registry.members.version.revision, revision + 1);
});

inEveryStore('large numbers are stored exactly', async (t, database) => {
  const registry = await network(t, database);
  const later = 2 ** 51 + 1;
  await registry.store.write((tables) => tables.updateNetwork({ next_node: 2 ** 32 - 1, created_at: later }));
  const row = await registry.store.read((tables) => tables.network());
  assert.equal(row?.next_node, 2 ** 32 - 1);
  assert.equal(row?.created_at, later);
});

for (const from of STORES) {
  for (const to of STORES) {
    test(`a backup of ${from} is restored into ${to}, as another epoch`, async (t) => {
      const file = join(temporaryFolder(t), 'backup.json');
      await withDatabase(t, from, async (_, source) => {
        const registry = await network(t, source);
        for (const key of ['a', 'b', 'c']) await addNode(registry, key);
        const saving = backup(registry.store, file);
        await Promise.all([saving, addNode(registry, 'd')]); // while the store is in use
        assert.equal(statSync(file).mode & 0o777, 0o600);
        await withDatabase(t, to, async (_, target) => {
          const store = await openTestStore(t, target);
          const done = await restore(store, readBackup(file), 'another');
          assert.equal(done.network, 'test');
          await store.close();
          const restored = await openTestNetwork(t, target);
          assert.equal(restored.members.version.epoch, 'another');
          assert.deepEqual(restored.info, registry.info);
          for (const key of ['a', 'b', 'c']) {
            assert.deepEqual(restored.members.byKey(key), registry.members.byKey(key));
          }
          const next = await addNode(restored, 'e');
          assert.ok(next > 1_000, 'ids are not reused, not even those assigned since the backup');
        });
      });
    });
  }
}

inEveryStore('a restore replaces the data, and a running hub notices', async (t, database) => {
  const registry = await network(t, database);
  await addNode(registry, 'a');
  const file = join(temporaryFolder(t), 'backup.json');
  await backup(registry.store, file);
  await addNode(registry, 'b');
  await restore(registry.store, readBackup(file), 'another');
  let noticed = false;
  registry.onReplaced = () => {
    noticed = true;
  };
  await assert.rejects(addNode(registry, 'c'), StoreUnavailable);
  assert.ok(noticed);
  const again = await (async () => {
    await registry.store.close();
    return openTestNetwork(t, database);
  })();
  assert.equal(again.members.count, 1);
});

test('a file that is not a backup is refused, and the database stays unchanged', async (t) => {
  const folder = temporaryFolder(t);
  const registry = await network(t, join(folder, 'hub.sqlite'));
  await addNode(registry, 'a');
  const rest = '"invites":[],"nodes":[],"shares":[]}';
  for (const [content, why] of [
    ['', /backup is not a hub backup$/],
    ['root:x:0:0', /backup is not a hub backup$/],
    ['null', /backup is not a hub backup$/],
    ['{}', /not a hub backup/],
    [
      '{"format":"lametun hub backup","version":2,"program":"lametun 0.2.0"}',
      /written by lametun 0\.2\.0 \(version 2 .* knows 1\): install that version or a newer one/,
    ],
    ['{"format":"lametun hub backup","version":2}', /written by a newer lametun \(version 2/],
    ['{"format":"lametun hub backup","version":1}', /is incomplete/],
    [`{"format":"lametun hub backup","version":1,"network":{"id":"x"},${rest}`, /is incomplete/],
    [
      `{"format":"lametun hub backup","version":1,"network":{"id":"x","name":"x","hub_key":"x"},${rest}`,
      /NULL|null/,
    ],
  ] as const) {
    writeFileSync(join(folder, 'backup'), content);
    const restoring = async () => restore(registry.store, readBackup(join(folder, 'backup')), 'another');
    await assert.rejects(restoring(), why);
  }
  const missing = join(folder, 'missing');
  assert.throws(() => readBackup(missing), {
    message: `cannot read ${missing}: ENOENT: no such file or directory`,
  });
  const nowhere = join(missing, 'backup');
  await assert.rejects(backup(registry.store, nowhere), {
    message: `cannot write the backup ${nowhere}: ENOENT: no such file or directory`,
  });
  assert.equal(await addNode(registry, 'b'), 2);
});

test('SQLite: a second process is refused, and the locks of a killed one do no harm', async (t) => {
  const path = join(temporaryFolder(t), 'hub.sqlite');
  const store = await openStore({ database: path });
  await assert.rejects(openStore({ database: path }), new RegExp(`in use by process ${process.pid}`));
  await store.close();
  mkdirSync(`${path}.lock`); // the lock of node-sqlite3-wasm
  await (await openStore({ database: path })).close();
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test('SQLite: many requests at once wait in a queue, each at the same cost', async (t) => {
  const store = await openTestStore(t, join(temporaryFolder(t), 'hub.sqlite'));
  const before = process.cpuUsage();
  await Promise.all(Array.from({ length: 5_000 }, () => store.read((tables) => tables.pendingCount())));
  const { user } = process.cpuUsage(before);
  assert.ok(
    user < 4e6,
    `${Math.round(user / 1e6)} s of CPU time: a queue takes 0.3 s, waking all waiters 12 s`,
  );
});

test('SQLite: a file that is not a database is refused with a message', async (t) => {
  const path = join(temporaryFolder(t), 'hub.sqlite');
  writeFileSync(path, 'this is no database, whatever else it may be'.repeat(100));
  await assert.rejects(openStore({ database: path }), /hub.sqlite cannot be opened: file is not a database/);
  assert.match(readFileSync(path, 'utf8'), /^this is no database/);
});

for (const kind of DATABASES) {
  test(`${kind}: a database of a newer lametun is refused with that version, and is not changed`, (t) =>
    withDatabase(t, kind, async (_, database) => {
      const migrated = async (name: string) => {
        const store = await openStore({ database });
        await store.db
          .insertInto('kysely_migration' as never)
          .values({ name, timestamp: 'x' } as never)
          .execute();
        await store.close();
      };
      await migrated('0002-groups-0.2.0');
      const before = kind === 'SQLite' ? filesBeside(database) : [];
      const where = kind === 'SQLite' ? database : `127\\.0\\.0\\.1:.*`;
      await assert.rejects(openStore({ database }), (error: LametunError) => {
        assert.equal(error.code, 'state');
        const says = `^the database ${where} was written by lametun 0\\.2\\.0 \\(.*0002-groups-0\\.2\\.0\\): install that version`;
        assert.match(error.message, new RegExp(says));
        return true;
      });
      if (kind === 'SQLite') assert.deepEqual(filesBeside(database), before);
    }));
}

/** The files of a database, and its locks. */
const filesBeside = (path: string) =>
  readdirSync(dirname(path)).map((name) => [name, readFileSync(join(dirname(path), name), 'hex')]);

test('PostgreSQL: an error names a wrong password, database or server, but never the password itself', async (t) => {
  if (!needs(t, 'postgres')) return;
  const postgres = await Postgres.start();
  t.after(() => postgres.close());
  await assert.rejects(
    openStore({ database: postgres.url('absent') }),
    /127.0.0.1:\d+\/absent refused the connection: .*does not exist/,
  );
  await assert.rejects(openStore({ database: 'postgres://host:port/x' }), /URL/);
  const lines: string[] = [];
  const stop = new AbortController();
  const waiting = openStore({
    database: 'postgres://user:very-secret@127.0.0.1:1/x',
    log: { error: (line) => void lines.push(line) },
    signal: stop.signal,
  });
  await until('the message', () => lines.length > 0);
  await sleep(1_200); // it has tried again, without another message
  stop.abort();
  await assert.rejects(waiting);
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /Waiting for the database 127.0.0.1:1\/x/);
  assert.ok(!lines.join().includes('very-secret'));
});

test('PostgreSQL: restarts under load lose nothing acknowledged, and refuse nothing', async (t) => {
  if (!needs(t, 'postgres')) return;
  const postgres = await Postgres.start();
  t.after(() => postgres.close());
  // On a slow machine a restart takes longer than the default patience.
  const registry = await network(t, await postgres.database(), 60_000);
  const acknowledged: string[] = [];
  let stop = false;
  const writers = Array.from({ length: 4 }, async (_, writer) => {
    for (let i = 0; !stop; i++) {
      const key = `w${writer}-${i}`;
      await addNode(registry, key);
      acknowledged.push(key);
    }
  });
  const written = Promise.all(writers);
  const more = async (): Promise<void> => {
    const enough = acknowledged.length + 20;
    await Promise.race([until('writes', () => acknowledged.length >= enough, 60_000), written]);
  };
  for (const mode of ['fast', 'immediate'] as const) {
    await more();
    await postgres.restart(mode);
  }
  await more();
  stop = true;
  await written;
  const rows = await registry.store.read((tables) => tables.nodes('current'));
  const keys = new Set(rows.map(({ key }) => key));
  for (const key of acknowledged) assert.ok(keys.has(key), `${key} was acknowledged and is lost`);
  assert.equal(rows.length, acknowledged.length);
  assert.equal(registry.members.count, acknowledged.length);
});

test('PostgreSQL: requests fail with a message while it is unreachable, and work again afterwards', async (t) => {
  if (!needs(t, 'postgres')) return;
  const postgres = await Postgres.start();
  t.after(() => postgres.close());
  const registry = await network(t, await postgres.database());
  postgres.down('fast');
  const began = performance.now();
  await assert.rejects(addNode(registry, 'a'), StoreUnavailable);
  assert.ok(performance.now() - began > 5_000, 'the first request waits');
  const again = performance.now();
  await assert.rejects(addNode(registry, 'a'), StoreUnavailable);
  assert.ok(
    performance.now() - again < 4_000,
    'later requests do not wait while the database is known to be away',
  );
  const waiting = openTestNetwork(t, postgres.url('test1')); // a hub that starts meanwhile
  await postgres.up();
  assert.equal((await waiting).info.name, 'test');
  await sleep(1_000);
  assert.equal(await addNode(registry, 'a'), 1);
});
