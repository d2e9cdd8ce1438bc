import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { FakeCrypto } from '../../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../../tests/kit/random.js';
import { settled, VirtualHub } from '../../../tests/kit/virtual/hub.js';
import { VirtualScheduler } from '../../../tests/kit/virtual/scheduler.js';
import { ChannelInitiator } from '../../protocol/channel.js';
import type { AdminAnswers, HubMessage } from '../../protocol/messages.js';
import { encodeBase64 } from '../../protocol/text.js';
import { parseToken } from '../../protocol/token.js';
import { welcome } from '../../protocol/versions.js';
import type { Carrier, Session } from './session.js';
import { Sessions } from './sessions.js';

/** A node that is connected directly to a hub's sessions. */
class TestNode implements Carrier {
  pace = undefined as never;
  readonly session: Session;
  readonly messages: HubMessage[] = [];
  onBytes: (bytes: Uint8Array) => void = () => {};
  isTerminated = false;
  readonly #channel: ChannelInitiator;

  constructor(crypto: FakeCrypto, hubKey: Uint8Array, sessions: Sessions, now: number) {
    const hello = { protocol: [1], program: 'node' };
    this.#channel = new ChannelInitiator(crypto, crypto.generate(), crypto.publicKey(hubKey), hello);
    this.session = sessions.begin(this, '192.0.2.1', now);
    this.session.handle(this.#channel.first(), now);
  }

  send(bytes: Uint8Array, taken: () => void): void {
    this.onBytes(bytes);
    for (const event of this.#channel.handle(bytes.slice()))
      if (event.kind === 'message') this.messages.push(event.value as HubMessage);
    taken();
  }
  cork(): void {}
  ping(): void {}
  close(): void {}
  terminateLater(): void {}
  terminate(): void {
    this.isTerminated = true;
  }

  ask(message: object, now: number): void {
    for (const bytes of this.#channel.seal(message)) this.session.handle(bytes, now);
  }
}

/** Sessions of a hub that never answers. */
function scene(limits: { guestPatience?: number; maxGuests?: number } = {}) {
  const crypto = new FakeCrypto(new SeededRandom(1));
  const privateKey = crypto.generate();
  const sessions: Sessions = new Sessions({
    ...limits,
    crypto,
    privateKey,
    answer: (hello) => welcome(hello, 'hub'),
    events: { message: async () => {}, frame: () => {}, closed: () => {} },
  });
  const guest = (now: number): TestNode => {
    const node = new TestNode(crypto, privateKey.publicKey.bytes, sessions, now);
    node.ask({ type: 'who', id: 1 }, now); // the first message proves the key
    return node;
  };
  return { sessions, guest };
}

test('a guest that does not become a member is disconnected after a while, and a member is not', () => {
  const { sessions, guest } = scene();
  const member = guest(0);
  member.session.admit();
  const [first, second] = [guest(1_000), guest(2_000)];
  for (const node of [member, first, second]) node.session.heard(120_000);
  sessions.check(120_999);
  assert.equal(sessions.open, 3);
  sessions.check(121_000);
  assert.deepEqual(
    [member, first, second].map(({ isTerminated }) => isTerminated),
    [false, true, false],
  );
  assert.deepEqual([sessions.open, sessions.counters.guest, sessions.counters.opened], [2, 1, 3]);
});

test('with too many guests, the oldest is disconnected', () => {
  const { sessions, guest } = scene({ maxGuests: 2 });
  const guests = [guest(0), guest(1), guest(2)];
  assert.deepEqual(
    guests.map(({ isTerminated }) => isTerminated),
    [true, false, false],
  );
  guests[1]!.session.admit();
  guest(3);
  assert.equal(sessions.open, 3);
});

test('every session is checked every five seconds', () => {
  const { sessions, guest } = scene();
  guest(0).session.admit();
  for (let now = 0; now <= 70_000; now += 1_000) sessions.check(now);
  assert.equal(sessions.open, 1);
  for (let now = 71_000; now <= 75_000; now += 1_000) sessions.check(now);
  assert.deepEqual([sessions.open, sessions.counters.silent], [0, 1]);
});

/** A network of this many nodes that join, attach, share and leave. @returns a hash of all bytes that the hub sent */
async function run(seed: number, count: number): Promise<string> {
  const random = new SeededRandom(seed);
  const crypto = new FakeCrypto(random);
  const scheduler = new VirtualScheduler();
  const { hub, registry, sessions, privateKey } = await VirtualHub.start({ random, crypto, scheduler });
  const invitation = { op: 'invite', expires: 3_600, reusable: true, admin: false, shares: [] } as const;
  const { token } = (await hub.administer(invitation)) as AdminAnswers['invite'];
  const secret = encodeBase64(parseToken(token).secret);
  const sent = createHash('sha256');
  const nodes = Array.from({ length: count }, () => {
    const node = new TestNode(crypto, privateKey.publicKey.bytes, sessions, scheduler.time);
    node.onBytes = (bytes) => void sent.update(bytes);
    return node;
  });
  const attach = { type: 'attach', network: registry.info.id, as: { run: 'r', turn: 1 } };
  const all = async (ask: (node: TestNode, i: number) => object): Promise<void> => {
    for (const [i, node] of nodes.entries()) {
      node.ask(ask(node, i), scheduler.time);
      await settled();
      scheduler.run(scheduler.time + random.below(50));
    }
  };
  await all((_, i) => ({ type: 'join', id: 1, secret, name: `node${i % 3}`, shares: [] }));
  await all(() => ({ ...attach, id: 2 }));
  await all((_, i) => ({ type: 'share', id: 3, shares: [`192.168.${i}.0/24`] }));
  await all((_, i) => (i % 2 === 0 ? { type: 'leave', id: 4 } : { type: 'who', id: 4 }));
  scheduler.run(scheduler.time + 5_000);
  assert.equal(registry.members.count, Math.floor(count / 2));
  const { revision } = registry.members.version;
  for (const { messages, session } of nodes.filter(({ session }) => !session.ended)) {
    const versions = messages.flatMap((m) =>
      m.type === 'map' || m.type === 'delta' ? m.version.revision : [],
    );
    assert.equal(versions.at(-1), revision, session.key);
  }
  return sent.digest('hex');
}

test('a hub in a virtual network sends the same bytes for the same seed, and different ones for another seed', async () => {
  assert.equal(await run(1, 10), await run(1, 10));
  assert.notEqual(await run(1, 10), await run(2, 10));
});
