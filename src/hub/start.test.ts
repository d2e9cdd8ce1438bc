import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { TextLog } from '../device/log.js';
import { TestNode, TestRefusal } from '../testkit/test-node.js';
import { until } from '../testkit/wait.js';
import type { AdminAnswers } from '../wire/messages.js';
import { parseToken } from '../wire/token.js';
import { type HubStart, type RunningHub, startHub } from './start.js';

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

test('a one-time invitation that 200 use at once lets exactly one in', async (t) => {
  const hub = await start(t);
  const secret = await invite(hub);
  const nodes = await Promise.all(Array.from({ length: 200 }, () => new TestNode().connect(hub)));
  t.after(() => nodes.forEach((node) => void node.close()));
  const results = await Promise.allSettled(nodes.map((node) => node.join(secret)));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  assert.ok(
    results.every((result) => result.status === 'fulfilled' || refusedWith('used-up')(result.reason)),
  );
});

test('a removed node is told so, and the others that it is gone, within two seconds', async (t) => {
  const hub = await start(t);
  const a = await member(t, hub, 'a');
  const b = await member(t, hub, 'b');
  await a.mapHas('b', (map) => map.size === 2);
  await hub.administer({ op: 'remove', node: 'b' });
  await a.mapHas('b to be gone', (map) => map.size === 1, 2_000);
  await b.closed();
  assert.equal(b.messages.at(-1)?.type, 'removed');
  await b.connect(hub);
  await assert.rejects(b.attach(), refusedWith('not-a-member'));
});

test('who reconnects with its last map gets only what has changed', async (t) => {
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

test('frames go from member to member, and nothing goes to who is none', async (t) => {
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

test('a hub that starts again has its members still', async (t) => {
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

test('a second hub on the same state directory is refused, and told by whom', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'lametun-hub-'));
  const first = await start(t, { state });
  await assert.rejects(start(t, { state }), new RegExp(`hub.sqlite is in use by process ${process.pid}`));
  await first.close();
  rmSync(state, { recursive: true });
});
