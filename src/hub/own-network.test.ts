import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { temporaryFolder, withDatabase } from '../../tests/kit/stores.js';
import { NodeCrypto } from '../crypto/node-crypto.js';
import { LametunError } from '../errors.js';
import { TextLog } from '../log.js';
import { makeHubKey, readHubKey } from './key.js';
import { Registry } from './membership/registry.js';
import { type OwnNetworkOptions, openOwnNetwork, restoreHub } from './own-network.js';
import { backup, readBackup } from './store/backup.js';
import { openStore } from './store/open.js';

const crypto = new NodeCrypto();
const log = new TextLog(0, 'hub', () => {});
const network = { name: 'home', ranges: () => ({ ipv4: '10.77.0.0/16', ipv6: 'fd77::/64' }) };

type Given = Partial<OwnNetworkOptions> & { readonly state: string };

/** Starts a hub's network and stops it. */
async function begin(given: Given) {
  const { registry, privateKey, replaced } = await openOwnNetwork({
    crypto,
    log,
    network,
    clock: Date.now,
    ...given,
  });
  await registry.store.close();
  const key = Buffer.from(privateKey.publicKey.bytes).toString('base64');
  privateKey.destroy();
  return { id: registry.info.id, key, replaced };
}

/** All files of a folder, except the lock files of open databases. */
const filesOf = (folder: string): string[] =>
  readdirSync(folder).filter((name) => !/\.(owner|lock)$|-(wal|shm)$/.test(name));

test('a hub serves the same network with the same key after every start', async (t) => {
  const state = temporaryFolder(t);
  const first = await begin({ state });
  const { network: named } = readHubKey(crypto, join(state, 'hub.key'))!;
  assert.deepEqual(named, { id: first.id, name: 'home' });
  assert.deepEqual(await begin({ state, existing: true }), first);
});

test('a key that served a network does not start another one, and leaves no files behind', async (t) => {
  const state = temporaryFolder(t);
  await begin({ state });
  const elsewhere = join(temporaryFolder(t), 'typo.sqlite');
  await assert.rejects(begin({ state, database: elsewhere }), {
    code: 'state',
    message:
      /hub.key is the key of the hub of home, but the database .*typo.sqlite contains no network: run `lametun restore BACKUP` first, .*--new-network/,
  });
  assert.ok(!existsSync(elsewhere));
  const copied = temporaryFolder(t);
  copyFileSync(join(state, 'hub.key'), join(copied, 'hub.key'));
  await assert.rejects(begin({ state: copied }), /contains no network: run `lametun restore BACKUP` first/);
  assert.deepEqual(filesOf(copied), ['hub.key']);
});

test('PostgreSQL: a database that no hub used stays unchanged', (t) =>
  withDatabase(t, 'PostgreSQL', async (_, database) => {
    const state = temporaryFolder(t);
    await begin({ state });
    await assert.rejects(begin({ state, database }), /contains no network/);
    const absent = () => new LametunError('state', 'no tables');
    await assert.rejects(openStore({ database, absent }), /no tables/);
  }));

test('a key and a database of different networks are refused and stay unchanged', async (t) => {
  const [a, b] = [temporaryFolder(t), temporaryFolder(t)];
  const [first, second] = [await begin({ state: a }), await begin({ state: b })];
  const database = join(b, 'hub.sqlite');
  await assert.rejects(begin({ state: a, database }), /contains another network, home: correct --database/);
  const keyFile = join(temporaryFolder(t), 'new.key');
  await assert.rejects(begin({ state: a, keyFile }), /new.key is not the key of its hub: put that hub.key/);
  assert.ok(!existsSync(keyFile), 'no new key is created for a network that has one');
  assert.deepEqual([await begin({ state: a }), await begin({ state: b })], [first, second]);
});

test('a hub without its data does not start a new network by itself', async (t) => {
  const state = temporaryFolder(t);
  await assert.rejects(
    begin({ state, existing: true }),
    /a hub ran on .* before, but .* contains no network/,
  );
  assert.deepEqual(filesOf(state), []);
});

test('on request another network starts with its own key, and the old one is kept', async (t) => {
  const state = temporaryFolder(t);
  const first = await begin({ state });
  const second = await begin({ state, newNetwork: true });
  assert.ok(second.id !== first.id && second.key !== first.key);
  const directory = second.replaced!;
  assert.deepEqual(readdirSync(directory).sort(), ['home.backup', 'hub.key']);
  assert.deepEqual(await begin({ state }), { ...second, replaced: undefined });

  const again = temporaryFolder(t);
  copyFileSync(join(directory, 'hub.key'), join(again, 'hub.key'));
  await restoreHub({ state: again, log }, join(directory, 'home.backup'));
  assert.deepEqual(await begin({ state: again }), first, 'the old network can be restored');
});

test('a backup is not restored with another network’s key, or over another network’s database', async (t) => {
  const [a, b] = [temporaryFolder(t), temporaryFolder(t)];
  await begin({ state: a });
  const second = await begin({ state: b });
  const store = await openStore({ database: join(a, 'hub.sqlite') });
  const file = join(a, 'a.backup');
  await backup(store, file);
  await store.close();
  await assert.rejects(restoreHub({ state: b, log }, file), /hub.key is the key of another hub, of home/);
  const place = { state: a, database: join(b, 'hub.sqlite'), crypto, log };
  await assert.rejects(restoreHub(place, file), /contains another network.*--replace/);
  assert.deepEqual(await begin({ state: b }), second);
  const { aside } = await restoreHub(place, file, { replace: true });
  assert.equal(readBackup(join(aside!, 'home.backup')).network.id, second.id);
});

/** Actions of an operator, and faults, on two state directories. */
const step = fc.oneof(
  fc.record({
    kind: fc.constant('serve' as const),
    key: fc.nat(1),
    database: fc.nat(1),
    existing: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('crash' as const), key: fc.nat(1), database: fc.nat(1), late: fc.boolean() }),
  fc.record({ kind: fc.constant('backup' as const), database: fc.nat(1) }),
  fc.record({ kind: fc.constant('restore' as const), key: fc.nat(1), database: fc.nat(1) }),
);

test('no sequence of starts, crashes, backups and restores loses or replaces a network', async (t) => {
  const run = async (
    t: TestContext,
    steps: readonly (typeof step extends fc.Arbitrary<infer S> ? S : never)[],
  ) => {
    const states = [temporaryFolder(t), temporaryFolder(t)];
    const keyFile = (i: number) => join(states[i]!, 'hub.key');
    const database = (i: number) => join(states[i]!, 'hub.sqlite');
    const file = join(states[0]!, 'the.backup');
    const ids: (string | undefined)[] = [undefined, undefined];
    const lines = (i: number) => (existsSync(keyFile(i)) ? readFileSync(keyFile(i), 'utf8').split('\n') : []);
    for (const each of steps) {
      const [key, named] = 'key' in each ? lines(each.key) : [];
      const id = ids[each.database];
      const at = { state: states[0]!, database: database(each.database) };
      try {
        if (each.kind === 'serve') {
          const begun = await begin({ ...at, keyFile: keyFile(each.key), existing: each.existing });
          const [, served] = readFileSync(keyFile(each.key), 'utf8').split('\n');
          assert.ok(
            served?.startsWith(`network ${begun.id} `),
            'the hub serves the network that the key names',
          );
        } else if (each.kind === 'crash') {
          await crash(keyFile(each.key), at.database, each.late);
        } else if (each.kind === 'backup') {
          if (id === undefined) continue;
          const store = await openStore({ database: at.database });
          await backup(store, file);
          await store.close();
        } else {
          await restoreHub({ ...at, keyFile: keyFile(each.key), log }, file);
        }
      } catch (error) {
        if ((error as { code?: string }).code === undefined) throw error; // a refusal has a code
      }
      ids[each.database] = await idIn(at.database);
      if (id !== undefined) assert.equal(ids[each.database], id, 'a database keeps its network');
      const after = 'key' in each ? lines(each.key) : [];
      if (key !== undefined) assert.equal(after[0], key, 'a key stays');
      if (named) assert.equal(after[1], named, 'a key keeps its network');
    }
  };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 10 }), async (steps) => run(t, steps)),
    { numRuns: 12 },
  );
});

async function idIn(database: string): Promise<string | undefined> {
  if (!existsSync(database)) return undefined;
  const store = await openStore({ database });
  try {
    return (await store.read((tables) => tables.network()))?.id;
  } finally {
    await store.close();
  }
}

/** A start that is killed after creating its key; with `late`, after creating its network, before the key names it. */
async function crash(keyFile: string, database: string, late: boolean): Promise<void> {
  if (existsSync(keyFile) || (await idIn(database)) !== undefined) return;
  const { privateKey } = makeHubKey(crypto, keyFile);
  if (!late) return;
  const store = await openStore({ database });
  await Registry.open(store, {
    network,
    hubKey: Buffer.from(privateKey.publicKey.bytes).toString('base64'),
    clock: Date.now,
    randomId: (bytes) => 'ab'.repeat(bytes),
  });
  await store.close();
}
