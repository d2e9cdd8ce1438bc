import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openTestNetwork, STORES, withDatabase } from '../../../tests/kit/stores.js';
import { WallClock } from '../../wall-clock.js';
import { addInvite, listInvites, openInvite, revokeInvite } from './invites.js';
import { join } from './nodes.js';
import type { InviteRecord, NodeQuery, NodeRecord, ShareRecord, Tables } from './tables.js';

function inEveryStore(name: string, fn: (t: TestContext, database: string) => Promise<void>): void {
  for (const kind of STORES) test(`${kind}: ${name}`, (t) => withDatabase(t, kind, fn));
}

const HOUR = 3_600_000;
const TODAY = Date.UTC(2026, 10, 30);

inEveryStore('an invitation made before the clock was set keeps its lifetime', async (t, database) => {
  // A machine without a battery-backed clock, ten minutes after boot.
  const machine = { wall: HOUR / 6, steady: HOUR / 6 };
  const clock = new WallClock(
    () => machine.wall,
    () => machine.steady,
  );
  const registry = await openTestNetwork(t, database, { clock: () => clock.now() });
  const invite = (id: string, expiresAt: number): Promise<unknown> =>
    registry.change((change) =>
      addInvite(change, { id, secretHash: id, expiresAt, reusable: true, admin: false, shares: [] }),
    );
  await invite('new', clock.now() + 24 * HOUR);
  await invite('revoked', clock.now() + 24 * HOUR);
  await registry.change((change) => revokeInvite(change, 'revoked'));
  await registry.change((change) => join(change, { key: 'k', secretHash: 'new', name: 'pi', shares: [] }));
  // As written in an earlier boot with a correct clock.
  machine.wall = TODAY - 48 * HOUR;
  const earlier = new WallClock(
    () => machine.wall,
    () => 0,
  ).now();
  await registry.store.write((tables) =>
    tables.insertInvite({
      ...{ id: 'old', secret_hash: 'old', created_at: earlier, expires_at: earlier + 24 * HOUR },
      ...{ admin: 0, shares: '[]', revoked_at: null, uses: 0, max_uses: 1 },
    }),
  );

  machine.wall = TODAY;
  const step = clock.step()!;
  const open = (id: string) => registry.store.read((tables) => openInvite(tables, id, clock.now()));
  assert.equal((await open('new')).id, 'new', 'even before times are moved');
  await registry.change((change) => change.tables.moveTimes(step));
  clock.adopt(step);
  const listed = await registry.store.read((tables) => listInvites(tables, clock.now()));
  assert.deepEqual(
    listed.map(({ id, state, createdAt, expiresAt }) => ({ id, state, createdAt, expiresAt })),
    [
      { id: 'old', state: 'expired', createdAt: earlier, expiresAt: earlier + 24 * HOUR },
      { id: 'new', state: 'open', createdAt: TODAY, expiresAt: TODAY + 24 * HOUR },
      { id: 'revoked', state: 'revoked', createdAt: TODAY, expiresAt: TODAY + 24 * HOUR },
    ],
  );
  const [node] = await registry.store.read((tables) => tables.nodes('current'));
  assert.deepEqual([node?.joined_at, node?.removed_at], [TODAY, null]);
  await assert.rejects(open('old'), { refusal: 'expired' });
});

const NODE: NodeRecord = {
  ...{ id: 1, key: 'key', name: 'name', ipv4: '10.77.0.1', ipv6: 'fd77::1', ipv4_only: 0, admin: 0 },
  ...{ state: 'active', revision: 2, invite: null, joined_at: 1, removed_at: null },
};
const OTHER: NodeRecord = { ...NODE, id: 2, key: 'other', name: 'other', ipv4: '10.77.0.2', ipv6: 'fd77::2' };
const INVITE: InviteRecord = {
  ...{ id: 'one', secret_hash: 'secret', created_at: 1, expires_at: 2, max_uses: 1, admin: 0 },
  ...{ shares: '[]', revoked_at: null, uses: 0 },
};
const SHARE: ShareRecord = { node: 1, network: '192.168.1.0/24', state: 'pending', why: null };

inEveryStore('a duplicate or a dangling reference rolls its transaction back', async (t, database) => {
  const { store } = await openTestNetwork(t, database);
  await store.write((tables) => tables.insertInvite(INVITE));
  await store.write((tables) => tables.insertNode({ ...NODE, invite: 'one' }));
  await store.write((tables) => tables.replaceShares(1, [SHARE]));
  const before = await store.read((tables) => tables.contents());
  const wrong: ((tables: Tables) => Promise<void>)[] = [
    (tables) => tables.insertNode({ ...OTHER, id: 1 }),
    ...(['key', 'name', 'ipv4', 'ipv6'] as const).flatMap((column) => [
      (tables: Tables) => tables.insertNode({ ...OTHER, [column]: NODE[column] }),
      async (tables: Tables) => {
        await tables.insertNode(OTHER);
        await tables.updateNode(2, { [column]: NODE[column] });
      },
    ]),
    (tables) => tables.insertNode({ ...OTHER, invite: 'two' }),
    (tables) => tables.deleteInvites(['one']),
    (tables) => tables.deleteNodes([1]),
    (tables) => tables.replaceShares(1, [SHARE, SHARE]),
    (tables) => tables.replaceShares(2, [{ ...SHARE, node: 2 }]),
  ];
  for (const work of wrong) {
    await assert.rejects(
      store.write(async (tables, { revision }) => {
        await tables.updateNetwork({ revision: revision + 1 });
        await work(tables);
      }),
      work.toString(),
    );
    assert.deepEqual(await store.read((tables) => tables.contents()), before);
  }
});

inEveryStore('an existing invitation stays unchanged', async (t, database) => {
  const { store } = await openTestNetwork(t, database);
  await store.write((tables) => tables.insertInvite(INVITE));
  await store.write((tables) => tables.insertInvite({ ...INVITE, secret_hash: 'other', uses: 1 }));
  await store.write((tables) => tables.insertInvite({ ...INVITE, id: 'two', uses: 1 }));
  assert.deepEqual(await store.read((tables) => tables.invites()), [INVITE]);
});

inEveryStore(
  'keys, names and addresses of removed nodes can be reused, and the nodes stay distinct',
  async (t, database) => {
    const { store } = await openTestNetwork(t, database);
    const removed = { ...NODE, state: 'removed', removed_at: 5 } as const;
    const latest = { ...removed, id: 12, revision: 7 };
    const pending = { ...OTHER, id: 9, ipv4: null, ipv6: null, state: 'pending', revision: 0 } as const;
    const rejected = { ...removed, id: 10, revision: 0, removed_at: 6 };
    await store.write(async (tables) => {
      for (const node of [latest, removed, rejected, pending, { ...NODE, id: 3 }])
        await tables.insertNode(node);
      await tables.replaceShares(9, [
        { ...SHARE, node: 9, network: '10.0.0.0/8', state: 'refused', why: 'x' },
      ]);
      await tables.replaceShares(3, [{ ...SHARE, node: 3 }]);
    });
    await store.read(async (tables) => {
      const ids = async (query: NodeQuery): Promise<number[]> =>
        (await tables.nodes(query)).map(({ id }) => id);
      assert.deepEqual(await ids('current'), [3, 9]);
      assert.deepEqual(await ids({ key: 'key' }), [3]);
      assert.deepEqual(await ids({ name: 'name' }), [3]);
      assert.deepEqual(await ids({ ipv4: '10.77.0.1' }), [3]);
      assert.deepEqual(await ids({ ids: [12, 3, 99, 1, 3] }), [1, 3, 12]);
      assert.deepEqual(await ids({ ids: [] }), []);
      assert.deepEqual(await ids({ since: 2 }), [12]);
      assert.deepEqual(await ids({ removedBy: 5 }), [1, 12]);
      assert.deepEqual(await tables.lastRemoved(1), [latest]);
      assert.deepEqual(await tables.lastRemoved(9), [latest, removed]);
      assert.deepEqual([await tables.wasRemoved('key'), await tables.wasRemoved('other')], [true, false]);
      assert.equal(await tables.pendingCount(), 1);
      assert.deepEqual(await tables.names('na'), ['name']);
      assert.deepEqual(await tables.addresses(), ['10.77.0.1']);
      assert.deepEqual(await tables.claims(9), [{ network: SHARE.network, node: 'name' }]);
      assert.deepEqual(await tables.claims(3), []);
      assert.equal((await tables.shares()).length, 2);
      assert.deepEqual(await tables.shares([]), []);
      assert.deepEqual(await tables.shares([3, 12]), [{ ...SHARE, node: 3 }]);
    });
  },
);
