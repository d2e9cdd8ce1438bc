import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { TestNode, TestRefusal } from '../../tests/kit/test-node.js';
import { until } from '../../tests/kit/wait.js';
import { TextLog } from '../log.js';
import type { AdminAnswers } from '../protocol/messages.js';
import { parseToken } from '../protocol/token.js';
import { restoreHub } from './own-network.js';
import { type HubStart, type RunningHub, startHub } from './start.js';
import { openStore } from './store/open.js';
import type { SqlStore } from './store/store.js';

const log = new TextLog(0, 'hub', () => {});

async function start(t: TestContext, options: Partial<HubStart> = {}): Promise<RunningHub> {
  let state = options.state;
  if (state === undefined) {
    state = mkdtempSync(join(tmpdir(), 'lametun-hub-'));
    t.after(() => rmSync(state!, { recursive: true }));
  }
  const hub = await startHub({ port: 0, public: ['127.0.0.1'], log, ...options, state });
  t.after(() => hub.close());
  return hub;
}

async function invite(
  hub: RunningHub,
  options: { reusable?: boolean; admin?: boolean; shares?: string[]; expires?: number } = {},
): Promise<Uint8Array> {
  const { reusable = false, admin = false, shares = [], expires = 60 } = options;
  const answer = await hub.administer({ op: 'invite', expires, reusable, admin, shares });
  return parseToken((answer as AdminAnswers['invite']).token).secret;
}

async function member(t: TestContext, hub: RunningHub, name: string, secret?: Uint8Array): Promise<TestNode> {
  const node = await new TestNode().connect(hub);
  t.after(() => node.close());
  await node.join(secret ?? (await invite(hub)), name);
  await node.attach();
  await node.mapHas('the first map', () => true);
  return node;
}

const refusedWith = (code: string) => (error: unknown) => error instanceof TestRefusal && error.code === code;

test('two nodes that join see each other in their maps', async (t) => {
  const hub = await start(t);
  const a = await member(t, hub, 'office');
  const b = await member(t, hub, 'home');
  await a.mapHas('the other', (map) => map.size === 2);
  assert.deepEqual([...b.map.nodes()].map(({ name }) => name).sort(), ['home', 'office']);
  assert.equal([...b.map.nodes()].find(({ name }) => name === 'office')?.key, a.keyText);
});

test('a one-time invitation used by 200 at once admits exactly one', async (t) => {
  const hub = await start(t);
  const secret = await invite(hub);
  const arrive = async (): Promise<TestNode> => {
    const node = await new TestNode().connect(hub);
    await assert.rejects(node.ask({ type: 'who' }), refusedWith('not-a-member')); // the key must be proved soon
    return node;
  };
  const nodes = await Promise.all(Array.from({ length: 200 }, arrive));
  t.after(() => nodes.forEach((node) => void node.close()));
  const results = await Promise.allSettled(nodes.map((node) => node.join(secret)));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  assert.ok(
    results.every((result) => result.status === 'fulfilled' || refusedWith('used-up')(result.reason)),
  );
});

test('a removed node and all others learn of the removal within two seconds', async (t) => {
  const hub = await start(t);
  const a = await member(t, hub, 'a');
  const b = await member(t, hub, 'b');
  await a.mapHas('b', (map) => map.size === 2);
  await hub.administer({ op: 'remove', node: 'b' });
  await a.mapHas('b to be gone', (map) => map.size === 1, 5_000);
  await b.closed();
  assert.equal(b.messages.at(-1)?.type, 'removed');
  await b.connect(hub);
  await assert.rejects(b.attach(), /closed with 1000/);
  assert.deepEqual(
    b.messages.at(-1),
    { type: 'removed', network: hub.network.id },
    'even after another attempt',
  );
});

test('a node that reconnects with its last map gets only the changes', async (t) => {
  const hub = await start(t);
  const a = await member(t, hub, 'a');
  await member(t, hub, 'b');
  await a.mapHas('b', (map) => map.size === 2);
  a.close();
  await a.closed();
  await member(t, hub, 'c');
  await a.connect(hub);
  a.messages.length = 0;
  await a.attach();
  await a.mapHas('c', (map) => map.size === 3);
  const delta = a.messages.find(({ type }) => type === 'delta');
  assert.ok(delta?.type === 'delta' && delta.nodes.length === 1 && delta.nodes[0]?.name === 'c');
});

test('frames go from member to member, but never to non-members', async (t) => {
  const hub = await start(t);
  const a = await member(t, hub, 'a');
  const b = await member(t, hub, 'b');
  const stranger = await new TestNode().connect(hub);
  t.after(() => stranger.close());
  const datagram = new Uint8Array(64);
  datagram[0] = 4;
  stranger.sendFrame(2, datagram);
  a.sendFrame(2, datagram);
  await until('the frame', () => b.frames.length > 0);
  assert.deepEqual(b.frames, [{ from: 1, datagram }]);
});

test('a node that was removed long ago gets the same answer as a recent one', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'lametun-hub-'));
  t.after(() => rmSync(state, { recursive: true }));
  const first = await start(t, { state });
  const stays = await member(t, first, 'stays');
  const secret = await invite(first);
  const gone = await member(t, first, 'gone', secret);
  await first.administer({ op: 'remove', node: 'gone' });
  await stays.mapHas('itself alone', (map) => map.size === 1);
  await first.close();
  const ids = await inDatabase(state, async (db) => {
    await db.updateTable('nodes').set({ removed_at: 1 }).where('state', '=', 'removed').execute();
    return db.selectFrom('nodes').select('name').execute();
  });
  assert.equal(ids.length, 2);

  const second = await start(t, { state });
  await stays.connect(second);
  await stays.attach();
  await gone.connect(second);
  await assert.rejects(gone.attach(), refusedWith('not-a-member'));
  await assert.rejects(gone.join(secret), refusedWith('bad-secret'));
  await second.close();
  const left = await inDatabase(state, (db) => db.selectFrom('nodes').select('name').execute());
  assert.deepEqual(left, [{ name: 'stays' }], 'a hub prunes when it starts');
});

async function inDatabase<T>(state: string, use: (db: SqlStore['db']) => Promise<T>): Promise<T> {
  const store = await openStore({ database: join(state, 'hub.sqlite') });
  try {
    return await use(store.db);
  } finally {
    await store.close();
  }
}

test('a restarted hub still has its members', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'lametun-hub-'));
  const first = await start(t, { state });
  const a = await member(t, first, 'a');
  await first.close();
  const second = await start(t, { state });
  assert.deepEqual(second.publicKey, first.publicKey);
  assert.deepEqual(second.network, first.network);
  a.messages.length = 0;
  await a.connect(second);
  await a.attach();
  await until('a delta', () => a.messages.some(({ type }) => type === 'delta'));
  await second.close();
  rmSync(state, { recursive: true });
});

test('a second hub on the same state directory is refused, with the process that uses it', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'lametun-hub-'));
  const first = await start(t, { state });
  await assert.rejects(start(t, { state }), new RegExp(`hub.sqlite is in use by process ${process.pid}`));
  await first.close();
  rmSync(state, { recursive: true });
});

test('a pending node gets the map when it is approved', async (t) => {
  const hub = await start(t, { ask: true });
  const node = await new TestNode().connect(hub);
  t.after(() => node.close());
  const { you } = await node.join(await invite(hub), 'guest');
  assert.ok(you.pending);
  assert.equal(you.ipv4, undefined);
  await node.attach();
  await assert.rejects(node.ask({ type: 'who' }), refusedWith('not-a-member'));
  await hub.administer({ op: 'approve', node: 'guest' });
  await node.mapHas('itself', (map) => map.size === 1);
  const told = node.messages.find(({ type }) => type === 'you');
  assert.ok(told?.type === 'you' && !told.you.pending);
  const { ipv4, ipv6 } = node.map.get(you.id)!;
  assert.deepEqual([told.you.ipv4, told.you.ipv6], [ipv4, ipv6]);
  assert.deepEqual(await node.ask({ type: 'who' }), { online: [you.id] });
});

test('only a member that was invited as administrator can administer', async (t) => {
  const hub = await start(t);
  const chief = await member(t, hub, 'chief', await invite(hub, { admin: true }));
  const other = await member(t, hub, 'other');
  await assert.rejects(other.ask({ type: 'admin', request: { op: 'invites' } }), refusedWith('not-an-admin'));
  await assert.rejects(
    other.ask({ type: 'admin', request: { op: 'remove', node: 'chief' } }),
    refusedWith('not-an-admin'),
  );
  await chief.ask({ type: 'admin', request: { op: 'remove', node: 'other' } });
  await other.closed();
  const stranger = await new TestNode().connect(hub);
  t.after(() => stranger.close());
  await assert.rejects(
    stranger.ask({ type: 'admin', request: { op: 'nodes' } }),
    refusedWith('not-an-admin'),
  );
});

test('a node that leaves gets an answer, and disappears for the others', async (t) => {
  const hub = await start(t);
  const a = await member(t, hub, 'a');
  const b = await member(t, hub, 'b');
  await a.mapHas('b', (map) => map.size === 2);
  assert.deepEqual(await b.ask({ type: 'leave' }), {});
  assert.equal(await b.closed(), 1000);
  assert.ok(!b.messages.some(({ type }) => type === 'removed'));
  await a.mapHas('b to be gone', (map) => map.size === 1);
});

test('a newer connection of a member replaces the older one', async (t) => {
  const hub = await start(t);
  const a = await member(t, hub, 'a');
  const again = await new TestNode(a.key).connect(hub);
  t.after(() => again.close());
  await again.attach();
  await a.closed();
  await again.mapHas('itself', (map) => map.size === 1);
  assert.deepEqual(await again.ask({ type: 'who' }), { online: [1] });
  assert.equal(hub.status().online, 1);
});

test('an approved share appears in everyone’s map', async (t) => {
  const hub = await start(t);
  const a = await member(t, hub, 'a');
  const b = await member(t, hub, 'b');
  const { shares } = await b.ask({ type: 'share', shares: ['192.168.7.0/24', '0.0.0.0/0'] });
  assert.deepEqual(
    shares.map(({ network, state }) => [network, state]),
    [
      ['0.0.0.0/0', 'refused'],
      ['192.168.7.0/24', 'pending'],
    ],
  );
  await hub.administer({ op: 'approve', node: 'b' });
  await a.mapHas('the share', (map) => map.get(2)?.shares[0] === '192.168.7.0/24');
  await b.ask({ type: 'share', shares: [] });
  await a.mapHas('no share', (map) => map.get(2)?.shares.length === 0);
});

test('checking an invitation does not use it up', async (t) => {
  const hub = await start(t);
  const secret = await invite(hub);
  const node = await new TestNode().connect(hub);
  t.after(() => node.close());
  const text = Buffer.from(secret).toString('base64');
  for (let i = 0; i < 3; i++) {
    assert.deepEqual(await node.ask({ type: 'check-invitation', secret: text }), { network: hub.network });
  }
  await node.join(secret);
  const other = await new TestNode().connect(hub);
  t.after(() => other.close());
  await assert.rejects(other.ask({ type: 'check-invitation', secret: text }), refusedWith('used-up'));
});

test('a node that was killed before it stored its membership joins with the same invitation', async (t) => {
  const hub = await start(t);
  const secret = await invite(hub);
  const node = await new TestNode().connect(hub);
  t.after(() => node.close());
  const first = await node.join(secret);
  const text = Buffer.from(secret).toString('base64');
  assert.deepEqual(await node.ask({ type: 'check-invitation', secret: text }), { network: hub.network });
  assert.deepEqual(await node.join(secret), first);
});

test('the answer to an invitation contains the addresses, and no log line contains its secret', async (t) => {
  const lines: string[] = [];
  const hub = await start(t, {
    log: new TextLog(2, 'hub', (line) => void lines.push(line)),
    public: ['vpn.example.org:8443'],
  });
  const answer = (await hub.administer({
    op: 'invite',
    expires: 60,
    reusable: false,
    admin: false,
    shares: [],
  })) as AdminAnswers['invite'];
  assert.deepEqual(answer.addresses, ['vpn.example.org:8443']);
  const { secret } = parseToken(answer.token);
  await member(t, hub, 'a', secret);
  const log = lines.join('');
  assert.match(log, /a, joined/);
  for (const encoding of ['hex', 'base64'] as const)
    assert.ok(!log.includes(Buffer.from(secret).toString(encoding)));
  assert.ok(!log.includes(answer.token));
});

test('a backup taken while the hub runs restores everything, for all nodes', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'lametun-hub-'));
  t.after(() => rmSync(state, { recursive: true }));
  const first = await start(t, { state });
  const a = await member(t, first, 'a');
  await first.backup(join(state, 'backup.json'));
  const b = await member(t, first, 'b');
  await a.mapHas('b', (map) => map.size === 2);
  await assert.rejects(restoreHub({ state, log }, join(state, 'backup.json')), /in use by process/);
  await first.close();
  const { aside, ...restored } = await restoreHub({ state, log }, join(state, 'backup.json'));
  assert.deepEqual(restored, { network: 'home', nodes: 1 });
  const kept = JSON.parse(readFileSync(join(aside!, 'home.backup'), 'utf8'));
  assert.equal(kept.nodes.length, 2, 'the replaced state is kept');
  const second = await start(t, { state });
  a.messages.length = 0;
  await a.connect(second);
  await a.attach();
  await a.mapHas('itself alone', (map) => map.size === 1);
  assert.ok(
    a.messages.some(({ type }) => type === 'map'),
    'its map has another epoch',
  );
  await b.connect(second);
  await assert.rejects(b.attach(), refusedWith('not-a-member'));
  b.close();
  await second.close();
});
