import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openTestNetwork, STORES, withDatabase } from '../../../tests/kit/stores.js';
import { addInvite, listInvites, revokeInvite } from './invites.js';
import { join, remove } from './nodes.js';
import { PRUNE_INTERVAL, REMEMBERED_FOR } from './prune.js';
import { Refused } from './refused.js';
import type { Registry } from './registry.js';

function inEveryStore(name: string, fn: (t: TestContext, database: string) => Promise<void>): void {
  for (const kind of STORES) test(`${kind}: ${name}`, (t) => withDatabase(t, kind, fn));
}

const DAY = PRUNE_INTERVAL;

/** A network whose clock the test controls. */
async function scene(t: TestContext, database: string) {
  const clock = { now: 1_000 };
  const open = (): Promise<Registry> => openTestNetwork(t, database, { clock: () => clock.now });
  const registry = await open();
  const invite = (id: string, reusable: boolean, days: number): Promise<number> =>
    registry.change((change) =>
      addInvite(change, {
        ...{ id, secretHash: id, reusable, admin: false, shares: [] },
        expiresAt: clock.now + days * DAY,
      }),
    );
  const joined = (key: string, secretHash: string): Promise<number> =>
    registry.change((change) => join(change, { key, secretHash, name: key, shares: ['192.168.1.0/24'] }));
  const invites = async (): Promise<string[]> =>
    (await registry.store.read((tables) => listInvites(tables, clock.now))).map(({ id }) => id).sort();
  const ids = async (): Promise<number[]> =>
    (await registry.store.read((tables) => tables.nodes({ since: -1 }))).map(({ id }) => id);
  return { clock, registry, open, invite, joined, invites, ids };
}

inEveryStore('a removed node is remembered for a month', async (t, database) => {
  const { clock, registry, open, invite, joined, ids } = await scene(t, database);
  await invite('all', true, 365);
  const [a, b] = [await joined('a', 'all'), await joined('b', 'all')];
  const before = registry.members.version;
  await registry.change((change) => remove(change, a));
  const after = registry.members.version;
  clock.now += DAY;
  await registry.change((change) => remove(change, b));
  clock.now += REMEMBERED_FOR - DAY - 1;
  await registry.prune();
  assert.deepEqual(await ids(), [a, b]);
  assert.ok(registry.members.canFollow(before));

  clock.now += 1;
  await registry.prune();
  assert.deepEqual(await ids(), [b]);
  for (const each of [registry, await reopened()]) {
    assert.ok(
      !each.members.canFollow(before),
      'a node with a map from before the removal needs the whole map',
    );
    assert.ok(each.members.canFollow(after));
    assert.match(
      Buffer.from(each.members.since(after.revision)).toString(),
      new RegExp(`"removed":\\[${b}\\]`),
    );
  }
  async function reopened(): Promise<Registry> {
    await registry.store.close();
    return open();
  }
});

inEveryStore(
  'an unusable invitation is forgotten after a month, unless a node that it admitted remains',
  async (t, database) => {
    const { clock, registry, invite, joined, invites, ids } = await scene(t, database);
    await invite('expired', true, 1);
    await invite('revoked', true, 365);
    await invite('open', true, 365);
    await invite('used', false, 1);
    await invite('used-by-who-went', false, 1);
    await registry.change((change) => revokeInvite(change, 'revoked'));
    await joined('stays', 'used');
    const goes = await joined('goes', 'used-by-who-went');
    await registry.change((change) => remove(change, goes));

    clock.now += REMEMBERED_FOR - 1;
    await registry.prune();
    assert.deepEqual(await invites(), ['expired', 'open', 'revoked', 'used', 'used-by-who-went']);
    clock.now += 1;
    await registry.prune();
    assert.deepEqual(await invites(), ['expired', 'open', 'used']);
    clock.now += DAY;
    await registry.prune();
    assert.deepEqual(await invites(), ['open', 'used']);
    assert.deepEqual(await ids(), [1]);

    // Forgotten invitations admit no one, and used ones stay used.
    for (const [secret, refusal] of [
      ['used-by-who-went', 'bad-secret'],
      ['revoked', 'bad-secret'],
      ['expired', 'bad-secret'],
      ['used', 'used-up'],
    ] as const) {
      await assert.rejects(
        joined('again', secret),
        (error) => error instanceof Refused && error.refusal === refusal,
      );
    }
    assert.equal(await joined('new', 'open'), 3, 'ids are not reused');
  },
);

inEveryStore('a hub does not forget a removal before it has learned of it', async (t, database) => {
  const { clock, registry, invite, joined, ids } = await scene(t, database);
  await invite('all', true, 365);
  const id = await joined('a', 'all');
  // As if by another hub on the same database.
  await registry.store.write(async (tables, { revision }) => {
    await tables.replaceShares(id, []);
    await tables.updateNode(id, { state: 'removed', removed_at: clock.now, revision: revision + 1 });
    await tables.updateNetwork({ revision: revision + 1 });
  });
  clock.now += REMEMBERED_FOR;
  assert.equal(registry.members.count, 1);
  await registry.prune();
  assert.deepEqual([registry.members.count, await ids()], [0, [id]]);
  await registry.prune();
  assert.deepEqual(await ids(), []);
});

inEveryStore('a hub that missed more than the remembered changes starts anew', async (t, database) => {
  const { registry, invite } = await scene(t, database);
  await invite('all', true, 365);
  const { revision } = registry.members.version;
  await registry.store.write((tables) =>
    tables.updateNetwork({ revision: revision + 9, horizon: revision + 5 }),
  );
  let isReplaced = false;
  registry.onReplaced = () => {
    isReplaced = true;
  };
  await assert.rejects(registry.prune(), /was replaced/);
  assert.ok(isReplaced);
});
