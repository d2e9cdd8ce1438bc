import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { FakeCrypto } from '../../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../../tests/kit/random.js';
import { ChannelInitiator } from '../../protocol/channel.js';
import type { HubMessage, NodeMessage } from '../../protocol/messages.js';
import { welcome } from '../../protocol/versions.js';
import { type Carrier, type Ending, PACE, type Pace, Session } from './session.js';

const crypto = new FakeCrypto(new SeededRandom(1));

/** A carrier that accepts data when the test says so, and the node at its other end. */
class TestCarrier implements Carrier {
  pace: Pace = PACE.stranger;
  pings = 0;
  closedWith: number | undefined;
  isTerminated = false;
  takes = true;
  readonly sent: Uint8Array[] = [];
  readonly #untaken: (() => void)[] = [];
  send(bytes: Uint8Array, taken: () => void): void {
    this.sent.push(bytes);
    if (this.takes) taken();
    else this.#untaken.push(taken);
  }
  take(): void {
    this.#untaken.shift()?.();
  }
  cork(): void {}
  ping(): void {
    this.pings++;
  }
  close(code: number): void {
    this.closedWith = code;
  }
  terminate(): void {
    this.isTerminated = true;
  }
  terminateLater(): void {}
}

/** A client with an open channel, at second 0. */
function scene(answer: (message: NodeMessage) => Promise<void> = async () => {}) {
  const carrier = new TestCarrier();
  const seen = { endings: [] as Ending[], frames: 0, requests: [] as NodeMessage[] };
  const hubKey = crypto.generate();
  const keys = {
    crypto,
    privateKey: hubKey,
    answer: (hello: Parameters<typeof welcome>[0]) => welcome(hello, 'hub'),
  };
  const session = new Session(
    carrier,
    '192.0.2.1',
    keys,
    {
      opened: () => {},
      admitted: () => {},
      message: async (_, message) => {
        seen.requests.push(message);
        await answer(message);
      },
      frame: () => void seen.frames++,
      closed: (_, why) => void seen.endings.push(why),
    },
    0,
  );
  const node = new ChannelInitiator(crypto, crypto.generate(), hubKey.publicKey, {
    protocol: [1],
    program: 'node',
  });
  session.handle(node.first(), 0);
  const received = (): HubMessage[] =>
    carrier.sent
      .splice(0)
      .flatMap((bytes) =>
        node.handle(bytes).flatMap((event) => (event.kind === 'message' ? (event.value as HubMessage) : [])),
      );
  received();
  const ask = (message: object, now = 0): void => {
    for (const bytes of node.seal(message)) session.handle(bytes, now);
  };
  ask({ type: 'who', id: 0 });
  return { carrier, session, node, seen, received, ask };
}

test('a silent client is pinged after 40 s and disconnected after 70 s', () => {
  const { carrier, session, seen } = scene();
  for (const [now, pings] of [
    [39_000, 0],
    [41_000, 1],
    [50_000, 1],
  ] as const) {
    session.check(now);
    assert.equal(carrier.pings, pings);
  }
  session.heard(60_000);
  session.check(101_000);
  assert.equal(carrier.pings, 2);
  session.check(130_000);
  assert.deepEqual(seen.endings, []);
  session.check(131_000);
  assert.deepEqual(seen.endings, ['silent']);
  assert.ok(carrier.isTerminated);
});

test('a client that reads nothing for 30 s is disconnected, and a slow one is not', () => {
  const { carrier, session, seen } = scene();
  carrier.takes = false;
  session.admit();
  let done = 0;
  for (let i = 0; i < 10; i++) session.sendEncoded(new Uint8Array(1_000), () => done++);
  let now = 0;
  for (; now < 200_000; now += 5_000) {
    session.heard(now);
    if (now % 25_000 === 0) carrier.take();
    session.check(now);
  }
  assert.deepEqual([seen.endings, done], [[], 8]);
  for (; now < 260_000 && seen.endings.length === 0; now += 5_000) {
    session.heard(now);
    session.check(now);
  }
  assert.deepEqual(seen.endings, ['backlog']);
  assert.ok(now <= 215_000, `${now}`);
});

test('frames for a client that does not read are dropped', () => {
  const { carrier, session } = scene();
  session.admit();
  carrier.takes = false;
  for (let i = 0; i < 1_000; i++) session.sendFrame(1, new Uint8Array(1_280));
  assert.ok(session.droppedFrames > 700, `${session.droppedFrames}`);
});

test('a guest that sends a frame is disconnected, a member is not, and the pace is adjusted', () => {
  const guest = scene();
  assert.equal(guest.carrier.pace, PACE.guest);
  guest.session.handle(guest.node.sealFrame(1, new Uint8Array(32)), 0);
  assert.deepEqual([guest.seen.frames, guest.seen.endings], [0, ['bad-message']]);
  assert.equal(guest.carrier.closedWith, 4005);
  const member = scene();
  member.session.admit();
  member.session.handle(member.node.sealFrame(1, new Uint8Array(32)), 0);
  assert.deepEqual([member.seen.frames, member.seen.endings], [1, []]);
  assert.equal(member.carrier.pace, PACE.member);
});

test('close waits for earlier messages, and nothing is sent after it', () => {
  const { carrier, session, seen } = scene();
  session.admit();
  carrier.takes = false;
  session.sendEncoded(new Uint8Array(1 << 20), () => {});
  session.close();
  session.send({ type: 'removed', network: 'n' });
  assert.deepEqual([seen.endings, carrier.closedWith], [['closed'], undefined]);
  for (let i = 0; i < 100; i++) carrier.take();
  assert.equal(carrier.closedWith, 1000);
});

test('requests are answered one by one; excess waiting requests are refused, then end the session', async () => {
  const going: (() => void)[] = [];
  const { seen, ask, received } = scene(() => new Promise((resolve) => going.push(resolve)));
  ask({ type: 'who', id: 1 });
  ask({ type: 'who', id: 2 });
  await turn();
  assert.deepEqual(
    seen.requests.map(({ id }) => id),
    [0],
  );
  going.shift()!();
  await turn();
  assert.deepEqual(
    seen.requests.map(({ id }) => id),
    [0, 1],
  );
  for (let id = 3; id < 33; id++) ask({ type: 'who', id });
  assert.deepEqual(seen.endings, []);
  ask({ type: 'who', id: 33 });
  assert.deepEqual(seen.endings, ['too-many']);
  assert.deepEqual(received(), []);
});

test('what only a newer node would send is refused by name, and the session goes on', async () => {
  const { seen, received, ask } = scene();
  ask({ type: 'next-version', id: 1 });
  ask({ type: 'who', id: 2, sort: 'name' });
  ask({ type: 'admin', id: 3, request: { op: 'next-version' } });
  const refusals = received().flatMap((message) => (message.type === 'refused' ? [message] : []));
  assert.deepEqual(
    refusals.map(({ re, code, message }) => [re, code, message.split(' ')[0]]),
    [
      [1, 'bad-request', 'type'],
      [2, 'bad-request', 'sort'],
      [3, 'bad-request', 'request.op'],
    ],
  );
  ask({ type: 'who', id: 4 });
  await turn();
  assert.ok(seen.requests.some(({ id }) => id === 4));
  assert.deepEqual(seen.endings, []);
});

test('a client above its request rate is refused until it slows down, or is disconnected', () => {
  const { seen, ask, received, session } = scene();
  session.admit();
  const burst = (from: number, count: number, now: number): unknown[] => {
    for (let id = from; id < from + count; id++) ask({ nonsense: true, id }, now);
    return received().map((message) => message.type === 'refused' && message.code);
  };
  assert.deepEqual(new Set(burst(1, 59, 0)), new Set(['bad-request']));
  assert.deepEqual(burst(60, 10, 1_000).length, 10);
  assert.deepEqual(seen.endings, []);
  ask({ type: 'who', id: 70 }, 1_000);
  assert.deepEqual(
    received().map((message) => message.type === 'refused' && message.code),
    ['too-many'],
  );
  for (let id = 71; id < 102; id++) ask({ type: 'who', id }, 1_000);
  assert.deepEqual(seen.endings, []);
  ask({ type: 'who', id: 102 }, 1_000);
  assert.deepEqual(seen.endings, ['too-many']);
});
