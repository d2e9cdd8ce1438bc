import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CompiledQuery } from 'kysely';
import { addInvite } from '../../src/hub/membership/invites.js';
import { join as joinNetwork } from '../../src/hub/membership/nodes.js';
import type { Registry } from '../../src/hub/membership/registry.js';
import { StoreUnavailable } from '../../src/hub/membership/tables.js';
import { backup } from '../../src/hub/store/backup.js';
import { openStore } from '../../src/hub/store/open.js';
import { runProgram } from '../../src/linux/process/program.js';
import { needs } from '../kit/requirements.js';
import { openTestNetwork } from '../kit/stores.js';

/** A folder on its own disk of this size. */
function smallDisk(t: TestContext, kilobytes: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-disk-'));
  runProgram('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k`, 'none', folder]);
  t.after(() => {
    runProgram('umount', ['-l', folder]);
    rmdirSync(folder);
  });
  return folder;
}

/** Fills the disk. */
function fill(file: string): void {
  writeFileSync(file, '');
  for (let chunk = 65_536; chunk >= 1; chunk >>= 1) {
    try {
      for (;;) appendFileSync(file, Buffer.alloc(chunk));
    } catch {} // full for pieces of this size
  }
}

const addNode = (registry: Registry, key: string): Promise<number> =>
  registry.change((change) => joinNetwork(change, { key, secretHash: 'secret', name: key, shares: [] }));

test('without disk space for its tables a hub reports it, and starts once there is space', async (t) => {
  if (!needs(t, 'root')) return;
  const folder = smallDisk(t, 64);
  const database = join(folder, 'hub.sqlite');
  await assert.rejects(openStore({ database }), /hub.sqlite cannot be opened: .*is the disk full\?/);
  runProgram('mount', ['-o', 'remount,size=4096k', folder]);
  const registry = await openTestNetwork(t, database);
  assert.equal(registry.members.count, 0);
});

test('a full disk causes an error and no corruption, and writes work again once there is space', async (t) => {
  if (!needs(t, 'root')) return;
  const folder = smallDisk(t, 2048);
  const database = join(folder, 'hub.sqlite');
  const registry = await openTestNetwork(t, database);
  await registry.change((change) =>
    addInvite(change, {
      id: 'i',
      secretHash: 'secret',
      expiresAt: 1e12,
      reusable: true,
      admin: false,
      shares: [],
    }),
  );
  const acknowledged: string[] = [];
  let refusals = 0;
  for (let round = 0; round < 3; round++) {
    fill(join(folder, 'filler'));
    for (let i = 0; refusals < 5 * (round + 1); i++) {
      assert.ok(i < 5_000, 'the disk never filled up');
      const key = `${round}-${i}`;
      try {
        await addNode(registry, key);
        acknowledged.push(key);
      } catch (error) {
        assert.ok(error instanceof StoreUnavailable, `${error}`);
        assert.match(error.message, /is the disk full\?/);
        refusals++;
      }
    }
    assert.equal(registry.members.count, acknowledged.length);
    await assert.rejects(backup(registry.store, join(folder, 'backup')), /cannot write the backup/);
    rmSync(join(folder, 'filler'));
    await addNode(registry, `${round}-room`);
    acknowledged.push(`${round}-room`);
  }
  await registry.store.close();

  const again = await openTestNetwork(t, database);
  for (const key of acknowledged) assert.ok(again.members.byKey(key), `${key} is lost`);
  assert.equal(again.members.count, acknowledged.length);
  await again.store.close();
  const store = await openStore({ database });
  t.after(() => store.close());
  const { rows } = await store.db.executeQuery(CompiledQuery.raw('pragma integrity_check'));
  assert.deepEqual(rows, [{ integrity_check: 'ok' }]);
});
