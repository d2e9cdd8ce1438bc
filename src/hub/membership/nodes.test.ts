import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { openTestNetwork, STORES, withDatabase } from '../../../tests/kit/stores.js';
import { addInvite, listInvites, revokeInvite } from './invites.js';
import { loadMembers, type Member, membership } from './members.js';
import { approve, findNode, join, remove, removeWaiting, rename, setInside, share } from './nodes.js';
import { Refused } from './refused.js';
import type { Registry } from './registry.js';

function inEveryStore(name: string, fn: (t: TestContext, database: string) => Promise<void>): void {
  for (const kind of STORES) test(`${kind}: ${name}`, (t) => withDatabase(t, kind, fn));
}

const newKey = (): string => randomBytes(32).toString('base64');
let invites = 0;

/** @returns the hash of the secret; the store never sees the secret */
async function invite(
  registry: Registry,
  options: {
    reusable?: boolean;
    uses?: number;
    admin?: boolean;
    shares?: string[];
    expiresAt?: number;
    id?: string;
  } = {},
): Promise<string> {
  const secretHash = randomBytes(32).toString('hex');
  const {
    reusable = true,
    uses,
    admin = false,
    shares = [],
    expiresAt = 1e9,
    id = `i${invites++}`,
  } = options;
  await registry.change((change) =>
    addInvite(change, { id, secretHash, expiresAt, reusable, uses, admin, shares }),
  );
  return secretHash;
}

const joined = (
  registry: Registry,
  secretHash: string,
  name: string,
  shares: string[] = [],
  key = newKey(),
) => registry.change((change) => join(change, { key, secretHash, name, shares }));

async function node(registry: Registry, id: number): Promise<Member> {
  const [member] = await registry.store.read((tables) => loadMembers(tables, { ids: [id] }));
  return member!;
}

const offers = async (registry: Registry, id: number) =>
  (await node(registry, id)).offered.map(({ network, state, why }) => [network, state, why]);

const refused = (refusal: string) => (error: unknown) =>
  error instanceof Refused && error.refusal === refusal;

inEveryStore('nodes get ids and addresses in order, and unique names', async (t, database) => {
  const registry = await openTestNetwork(t, database);
  const secret = await invite(registry);
  for (const name of ['Office', 'office.example.org', 'office', '12']) await joined(registry, secret, name);
  const rows = (await registry.store.read((tables) => loadMembers(tables, 'current'))).map(({ row }) => row);
  assert.deepEqual(
    rows.map(({ id, name, ipv4 }) => [id, name, ipv4]),
    [
      [1, 'office', '10.77.0.1'],
      [2, 'office-2', '10.77.0.2'],
      [3, 'office-3', '10.77.0.3'],
      [4, 'node-12', '10.77.0.4'],
    ],
  );
  assert.equal(rows[0]!.ipv6, registry.info.ipv6.replace('::/64', '::1'));
});

inEveryStore('a node that joins again with the same key keeps its identity', async (t, database) => {
  const registry = await openTestNetwork(t, database);
  const secret = await invite(registry, { reusable: false });
  const key = newKey();
  const id = await joined(registry, secret, 'a', [], key);
  const { revision } = registry.members.version;
  assert.equal(await joined(registry, secret, 'b', [], key), id);
  assert.equal(registry.members.version.revision, revision);
  await assert.rejects(joined(registry, secret, 'c'), refused('used-up'));
});

inEveryStore(
  'unknown, expired, revoked and used invitations are refused, each with its own message',
  async (t, database) => {
    let now = 1_000;
    const registry = await openTestNetwork(t, database, { clock: () => now });
    await assert.rejects(joined(registry, randomBytes(32).toString('hex'), 'a'), refused('bad-secret'));
    const short = await invite(registry, { expiresAt: 2_000, id: 'short' });
    const revoked = await invite(registry, { id: 'revoked' });
    const once = await invite(registry, { reusable: false, id: 'once' });
    await invite(registry, { id: 'open' });
    await registry.change((change) => revokeInvite(change, 'revoked'));
    await joined(registry, once, 'first');
    now = 2_000;
    await assert.rejects(joined(registry, short, 'a'), refused('expired'));
    await assert.rejects(joined(registry, revoked, 'a'), refused('bad-secret'));
    await assert.rejects(joined(registry, once, 'a'), refused('used-up'));
    await assert.rejects(
      registry.change((change) => revokeInvite(change, 'none')),
      refused('not-found'),
    );
    const rows = await registry.store.read((tables) => listInvites(tables, now));
    assert.deepEqual(rows.map(({ id, state, usedBy }) => [id, state, usedBy]).sort(), [
      ['once', 'used', ['first']],
      ['open', 'open', []],
      ['revoked', 'revoked', []],
      ['short', 'expired', []],
    ]);
  },
);

inEveryStore('a one-time invitation used by many at once admits one', async (t, database) => {
  const registry = await openTestNetwork(t, database);
  const secret = await invite(registry, { reusable: false });
  const results = await Promise.allSettled(
    Array.from({ length: 50 }, (_, i) => joined(registry, secret, `n${i}`)),
  );
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
});

inEveryStore(
  'addresses can run out and are reused after removals; ids are never reused',
  async (t, database) => {
    const registry = await openTestNetwork(t, database, { ipv4: '10.9.9.0/28' });
    const secret = await invite(registry);
    for (let i = 1; i <= 6; i++) assert.equal(await joined(registry, secret, 'n'), i);
    await assert.rejects(joined(registry, secret, 'n'), refused('full'));
    await registry.change((change) => remove(change, 3));
    const id = await joined(registry, secret, 'n');
    assert.ok(id > 6);
    assert.equal((await node(registry, id)).row.ipv4, '10.9.9.3');
    assert.equal((await node(registry, id)).row.ipv6, registry.info.ipv6.replace('::/64', '::3'));
  },
);

inEveryStore('a name is free again after its node is removed', async (t, database) => {
  const registry = await openTestNetwork(t, database);
  const secret = await invite(registry);
  const first = await joined(registry, secret, 'a');
  await registry.change((change) => remove(change, first));
  const second = await joined(registry, secret, 'a');
  assert.equal((await node(registry, second)).row.name, 'a');
  assert.equal((await registry.store.read((tables) => findNode(tables, 'a'))).id, second);
  await assert.rejects(
    registry.store.read((tables) => findNode(tables, `${first}`)),
    refused('not-found'),
  );
});

inEveryStore('a node can be renamed only to an unused name', async (t, database) => {
  const registry = await openTestNetwork(t, database);
  const secret = await invite(registry);
  const [a, b] = [await joined(registry, secret, 'a'), await joined(registry, secret, 'b')];
  const { revision } = registry.members.version;
  const renamed = (id: number, name: string): Promise<string> =>
    registry.change((change) => rename(change, id, name));
  assert.equal(await renamed(a, 'office'), 'a');
  assert.equal(registry.members.byId(a)!.row.name, 'office');
  assert.equal(registry.members.version.revision, revision + 1);
  assert.equal((await registry.store.read((tables) => findNode(tables, 'office'))).id, a);
  assert.equal(await renamed(a, 'office'), 'office');
  assert.equal(registry.members.version.revision, revision + 1, 'nothing changed');
  assert.equal(await renamed(b, 'a'), 'b', 'its old name is free');

  await assert.rejects(renamed(b, 'office'), refused('taken'));
  for (const name of ['localhost', 'hub', '12', 'a.b', 'Office', 'b_c', '-b', '', 'x'.repeat(64)])
    await assert.rejects(renamed(b, name), refused('bad-request'), name);
  assert.equal(registry.members.version.revision, revision + 2);
  await registry.change((change) => remove(change, a));
  assert.equal(await renamed(b, 'office'), 'a', 'the name of a removed node is free');
  await assert.rejects(renamed(a, 'z'), refused('not-a-member'));
});

inEveryStore('renaming a pending node is not announced', async (t, database) => {
  const registry = await openTestNetwork(t, database, { ask: true });
  const id = await joined(registry, await invite(registry), 'a');
  const { revision } = registry.members.version;
  await registry.change((change) => rename(change, id, 'office'));
  assert.equal(registry.members.version.revision, revision);
  await registry.change((change) => approve(change, id));
  assert.equal(registry.members.byId(id)!.row.name, 'office');
});

inEveryStore('the map says which nodes have no IPv6, until they have it', async (t, database) => {
  const registry = await openTestNetwork(t, database);
  const id = await joined(registry, await invite(registry), 'old');
  const { revision } = registry.members.version;
  const say = async (ipv6: boolean): Promise<[boolean, boolean, number]> => {
    await registry.change((change) => setInside(change, id, ipv6));
    const member = registry.members.byId(id)!;
    return [
      member.json.includes('"ipv4Only":true'),
      membership(member).ipv4Only === true,
      registry.members.version.revision,
    ];
  };
  assert.deepEqual(await say(true), [false, false, revision]);
  assert.deepEqual(await say(false), [true, true, revision + 1]);
  assert.deepEqual(await say(false), [true, true, revision + 1]);
  assert.deepEqual(await say(true), [false, false, revision + 2]);
  await registry.change((change) => remove(change, id));
  await assert.rejects(say(false), refused('not-a-member'));
});

inEveryStore('removing a removed node changes nothing', async (t, database) => {
  const registry = await openTestNetwork(t, database);
  const id = await joined(registry, await invite(registry), 'a');
  await registry.change((change) => remove(change, id));
  const { revision } = registry.members.version;
  await registry.change((change) => remove(change, id));
  assert.equal(registry.members.version.revision, revision);
});

inEveryStore('a reusable invitation admits its number of nodes, by default 100', async (t, database) => {
  const registry = await openTestNetwork(t, database, { ipv4: '10.77.0.0/24' });
  const three = await invite(registry, { uses: 3 });
  for (const name of ['a', 'b', 'c']) await joined(registry, three, name);
  await assert.rejects(joined(registry, three, 'd'), refused('used-up'));
  await invite(registry, { id: 'usual' });
  const rows = await registry.store.read((tables) => listInvites(tables, 1_000));
  assert.deepEqual(rows.map(({ state, uses, maxUses }) => [state, uses, maxUses]).sort(), [
    ['open', 0, 100],
    ['used', 3, 3],
  ]);
  await assert.rejects(invite(registry, { reusable: false, uses: 2 }), refused('bad-request'));
});

inEveryStore('pending nodes of one invitation are limited, and removed with it', async (t, database) => {
  const registry = await openTestNetwork(t, database, { ask: true });
  const many = await invite(registry, { uses: 1_000, id: 'many' });
  const ids: number[] = [];
  await assert.rejects(async () => {
    for (;;) ids.push(await joined(registry, many, 'x'));
  }, refused('full'));
  assert.equal(ids.length, 100);
  const other = await joined(registry, await invite(registry), 'honest');
  await registry.change((change) => approve(change, ids[0]!));
  ids.push(await joined(registry, many, 'one more'));
  await assert.rejects(joined(registry, many, 'x'), refused('full'));
  assert.equal(await registry.change((change) => removeWaiting(change, 'many')), 100);
  assert.deepEqual(
    (await registry.store.read((tables) => loadMembers(tables, 'current'))).map(({ row }) => row.id),
    [ids[0], other],
  );
  await joined(registry, many, 'again');
});

inEveryStore(
  'a pending node has no address, and gets a free one when it is approved',
  async (t, database) => {
    const registry = await openTestNetwork(t, database, { ask: true, ipv4: '10.9.9.0/28' });
    const secret = await invite(registry);
    const ids: number[] = [];
    for (let i = 0; i < 8; i++) ids.push(await joined(registry, secret, 'n', [`192.168.${i}.0/24`]));
    for (const id of ids) {
      const member = await node(registry, id);
      assert.deepEqual([member.row.ipv4, member.row.ipv6], [null, null]);
      assert.ok(!('ipv4' in membership(member)) && !('ipv6' in membership(member)));
    }
    const letIn = (id: number): Promise<string> => registry.change((change) => approve(change, id));
    const results = await Promise.allSettled(ids.map(letIn));
    const refusals = results.filter((result) => result.status === 'rejected');
    assert.equal(refusals.length, 2);
    for (const { reason } of refusals)
      assert.match(
        reason.message,
        /^all 6 addresses of 10\.9\.9\.0\/29 are in use: ask an administrator to remove/,
      );
    const members = await registry.store.read((tables) => loadMembers(tables, 'current'));
    const active = members.filter(({ row }) => row.state === 'active');
    assert.deepEqual(
      active.map(({ row }) => row.ipv4).sort(),
      [1, 2, 3, 4, 5, 6].map((host) => `10.9.9.${host}`),
    );
    assert.equal(new Set(active.map(({ row }) => row.ipv6)).size, 6);
    const [waiting, other] = members.filter(({ row }) => row.state === 'pending');
    assert.deepEqual(
      waiting!.offered.map(({ state }) => state),
      ['pending'],
      'nothing was approved',
    );

    await registry.change((change) => remove(change, active[2]!.row.id));
    await letIn(waiting!.row.id);
    const { ipv4, ipv6, revision } = registry.members.byId(waiting!.row.id)!.row;
    assert.deepEqual([ipv4, ipv6], [active[2]!.row.ipv4, active[2]!.row.ipv6]);
    await letIn(waiting!.row.id);
    assert.deepEqual(registry.members.byId(waiting!.row.id)!.row, {
      ...waiting!.row,
      state: 'active',
      ipv4,
      ipv6,
      revision,
    });
    await assert.rejects(letIn(other!.row.id), refused('full'));
  },
);

inEveryStore('a node that needs approval is not in the map before', async (t, database) => {
  const registry = await openTestNetwork(t, database, { ask: true });
  const { revision } = registry.members.version;
  const id = await joined(registry, await invite(registry), 'a', ['192.168.1.0/24']);
  assert.equal(registry.members.version.revision, revision);
  assert.equal(registry.members.count, 0);
  await registry.change((change) => approve(change, id));
  assert.equal(registry.members.version.revision, revision + 1);
  assert.deepEqual(registry.members.byId(id)?.offered, [{ network: '192.168.1.0/24', state: 'approved' }]);
});

inEveryStore('a share is pending unless the invitation allows it', async (t, database) => {
  const registry = await openTestNetwork(t, database);
  const id = await joined(
    registry,
    await invite(registry, { shares: ['192.168.0.0/16'], id: 'lan' }),
    'gateway',
    ['192.168.1.0/24', '10.5.0.0/16'],
  );
  assert.deepEqual(await offers(registry, id), [
    ['10.5.0.0/16', 'pending', undefined],
    ['192.168.1.0/24', 'approved', undefined],
  ]);
  await registry.change((change) => approve(change, id, ['10.5.0.0/16']));
  await registry.change((change) => revokeInvite(change, 'lan'));
  await registry.change((change) => share(change, id, ['192.168.1.0/24', '192.168.2.0/24']));
  assert.deepEqual(await offers(registry, id), [
    ['192.168.1.0/24', 'approved', undefined],
    ['192.168.2.0/24', 'pending', undefined],
  ]);
});

inEveryStore('of two overlapping shares the second is refused with a reason', async (t, database) => {
  const registry = await openTestNetwork(t, database);
  const secret = await invite(registry, { shares: ['192.168.0.0/16'] });
  await joined(registry, secret, 'office', ['192.168.1.0/24']);
  const home = await joined(registry, secret, 'home', [
    '192.168.0.0/16',
    '10.77.3.0/24',
    '0.0.0.0/0',
    '127.0.0.0/8',
  ]);
  assert.deepEqual(await offers(registry, home), [
    ['0.0.0.0/0', 'refused', 'a default route cannot be shared'],
    ['10.77.3.0/24', 'refused', 'overlaps 10.77.0.0/16, the range of the network itself'],
    ['127.0.0.0/8', 'refused', '127.0.0.0/8 is the loopback network'],
    ['192.168.0.0/16', 'refused', 'overlaps 192.168.1.0/24 of office'],
  ]);
  await assert.rejects(
    registry.change((change) => approve(change, home, ['192.168.0.0/16'])),
    refused('overlap'),
  );
  await registry.change((change) => remove(change, 1));
  await registry.change((change) => approve(change, home));
  assert.deepEqual((await offers(registry, home)).at(-1), ['192.168.0.0/16', 'approved', undefined]);
});

inEveryStore('an invitation can allow only valid shares', async (t, database) => {
  const registry = await openTestNetwork(t, database);
  for (const network of ['0.0.0.0/0', '10.77.0.0/24', 'nonsense', '0.0.0.0/1']) {
    await assert.rejects(invite(registry, { shares: [network] }), refused('bad-request'));
  }
});

for (const kind of ['memory', 'PostgreSQL'] as const)
  test(`${kind}: two hubs on one database never assign an address, a name or an invitation twice`, (t) =>
    withDatabase(t, kind, async (t, database) => {
      const hubs = [await openTestNetwork(t, database), await openTestNetwork(t, database)];
      const [reusable, once] = [await invite(hubs[0]!), await invite(hubs[0]!, { reusable: false })];
      const results = await Promise.allSettled(
        Array.from({ length: 60 }, (_, i) => joined(hubs[i % 2]!, i < 40 ? reusable : once, 'node')),
      );
      assert.equal(results.slice(0, 40).filter(({ status }) => status === 'rejected').length, 0);
      assert.equal(results.slice(40).filter(({ status }) => status === 'fulfilled').length, 1);
      const rows = (await hubs[0]!.store.read((tables) => loadMembers(tables, 'current'))).map(
        ({ row }) => row,
      );
      assert.equal(new Set(rows.map(({ name }) => name)).size, 41);
      assert.equal(new Set(rows.map(({ ipv4 }) => ipv4)).size, 41);
      await joined(hubs[0]!, reusable, 'last');
      assert.equal(hubs[0]!.members.count, 42, 'a hub learns of the other’s changes when it writes');
    }));
