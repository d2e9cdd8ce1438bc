import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { VirtualHub } from '../../../tests/kit/virtual/hub.js';
import { VirtualScheduler } from '../../../tests/kit/virtual/scheduler.js';
import type { AdminAnswers, Answers, HubMessage, NodeMessage, NodeRow } from '../../protocol/messages.js';
import { encodeBase64 } from '../../protocol/text.js';
import { parseToken } from '../../protocol/token.js';
import type { Client } from './hub.js';

class FakeClient implements Client {
  readonly key: string;
  readonly remote: string;
  readonly messages: HubMessage[] = [];
  admitted = false;
  ended = false;

  constructor(key = randomBytes(32), remote = '192.0.2.1') {
    this.key = key.toString('base64');
    this.remote = remote;
  }

  send(message: HubMessage): void {
    this.messages.push(message);
  }
  sendEncoded(message: Uint8Array, done: () => void): void {
    this.messages.push(JSON.parse(Buffer.from(message).toString()) as HubMessage);
    done();
  }
  sendFrame(): void {}
  admit(): void {
    this.admitted = true;
  }
  close(): void {
    this.ended = true;
  }
}

/** A hub that requires approval, and a pending node. */
async function scene() {
  const scheduler = new VirtualScheduler();
  const { hub, registry } = await VirtualHub.start({ ask: true, scheduler });
  const invitation = { op: 'invite', expires: 60, reusable: false, admin: false, shares: [] } as const;
  const { token } = (await hub.administer(invitation)) as AdminAnswers['invite'];
  const secret = encodeBase64(parseToken(token).secret);
  const client = new FakeClient();
  await hub.handle(client, { type: 'join', id: 1, secret, name: 'guest', shares: [] });
  client.messages.length = 0;

  /** The client attaches, and something happens between the database's answer and its arrival at the hub. */
  const attachAnd = async (happens: () => Promise<unknown>): Promise<void> => {
    const { store } = registry;
    const read = store.read.bind(store);
    store.read = async (query) => {
      store.read = read;
      const value = await read(query);
      await happens();
      return value;
    };
    await hub.handle(client, { type: 'attach', id: 2, network: registry.info.id, as: { run: 'r', turn: 1 } });
  };
  const row = async (): Promise<NodeRow | undefined> =>
    ((await hub.administer({ op: 'nodes' })) as AdminAnswers['nodes']).nodes[0];
  return { hub, registry, scheduler, client, secret, attachAnd, row };
}

test('a pending node that leaves before its answer is not attached', async () => {
  const { hub, client, attachAnd, row } = await scene();
  await attachAnd(async () => {
    client.ended = true;
    hub.closed(client);
  });
  assert.equal((await row())?.online, false);
  assert.equal(hub.online, 0);
});

test('a node approved while it attaches becomes a member, with a map', async () => {
  const { hub, scheduler, client, attachAnd, row } = await scene();
  await attachAnd(() => hub.administer({ op: 'approve', node: 'guest' }));
  const answer = client.messages.find(({ type }) => type === 'answer');
  assert.ok(answer?.type === 'answer');
  assert.equal((answer.value as Answers['attach']).you.pending, false);
  scheduler.run();
  assert.ok(client.messages.some(({ type }) => type === 'map'));
  assert.ok((await row())?.online);
});

test('a node removed while it attaches learns that it is not a member', async () => {
  const { hub, client, attachAnd } = await scene();
  await attachAnd(() => hub.administer({ op: 'remove', node: 'guest' }));
  assert.deepEqual(
    client.messages.map(({ type }) => type),
    ['removed'],
  );
  assert.equal(client.admitted, false);
});

test('a pending node may stay connected', async () => {
  const { client, attachAnd } = await scene();
  await attachAnd(async () => {});
  assert.ok(client.admitted);
});

test('a pending administrator gets the reason why it cannot administer yet', async () => {
  const { hub, client, attachAnd } = await scene();
  await attachAnd(async () => {});
  await hub.handle(client, { type: 'admin', id: 3, request: { op: 'nodes' } });
  const refused = client.messages.at(-1);
  assert.ok(refused?.type === 'refused' && refused.code === 'not-an-admin');
  assert.match(refused.message, /pending approval/);
});

test('requests of non-members that need the database are limited', async () => {
  const { hub, registry, client: honest, secret } = await scene();
  await hub.administer({ op: 'approve', node: 'guest' });
  const { store } = registry;
  let asked = 0;
  const [read, write] = [store.read.bind(store), store.write.bind(store)];
  store.read = (query) => {
    asked++;
    return read(query);
  };
  store.write = (work, then) => {
    asked++;
    return write(work, then);
  };
  const questions: readonly NodeMessage[] = [
    { type: 'check-invitation', id: 1, secret },
    { type: 'join', id: 2, secret, name: 'x', shares: [] },
    { type: 'attach', id: 3, network: registry.info.id, as: { run: 'r', turn: 1 } },
    { type: 'share', id: 4, shares: ['192.168.1.0/24'] },
    { type: 'host-info', id: 5, ipv6: true },
    { type: 'leave', id: 6 },
  ];
  for (let i = 0; i < 100; i++) {
    for (const question of questions) {
      const guest = new FakeClient();
      await hub.handle(guest, question);
      assert.equal(guest.messages[0]?.type, 'refused');
    }
  }
  assert.ok(asked > 150 && asked < 700, `${asked} times for 600 questions`); // some need two or three
  const last = new FakeClient();
  await hub.handle(last, questions[0]!);
  assert.deepEqual(
    last.messages.map((message) => message.type === 'refused' && message.code),
    ['too-many'],
  );
  assert.ok(last.ended, 'it is disconnected');
  const elsewhere = new FakeClient(randomBytes(32), '192.0.2.2');
  await hub.handle(elsewhere, questions[0]!);
  assert.deepEqual(
    elsewhere.messages.map((message) => message.type === 'refused' && message.code),
    ['used-up'],
  );
  await hub.handle(honest, { type: 'share', id: 7, shares: [] });
  assert.equal(honest.messages.at(-1)?.type, 'answer');
});
