import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { SeededRandom } from '../../../tests/kit/random.js';
import { frameTo, RelayMember, relayable, relayCrypto } from '../../../tests/kit/relay-member.js';
import { until } from '../../../tests/kit/wait.js';
import { decodeControl, MAGIC, RELAY_CONTROL, RELAY_FRAME, RELAY_KIND } from '../../protocol/relay.js';
import { viewOf } from '../../wireguard/messages.js';
import { Relay, type RelayOptions } from './relay.js';

interface HandedOut {
  readonly to: number;
  readonly from: number;
  readonly datagram: Uint8Array;
}

/** A relay, and the frames that it hands out for channels. */
async function start(t: TestContext, options: Partial<RelayOptions> = {}) {
  const handedOut: HandedOut[] = [];
  const relay = await Relay.start({
    port: 0,
    onFrame: (to, from, datagram) => void handedOut.push({ to, from, datagram }),
    onFailed: (error) => {
      throw error;
    },
    ...options,
  });
  t.after(() => relay.close());
  /** A member that is attached and bound. */
  const member = async (id: number, address?: string): Promise<RelayMember> => {
    const one = new RelayMember(relay.port, address);
    t.after(() => one.close());
    assert.equal(await one.bind(relay.attach(id)), one.port);
    return one;
  };
  /** A socket of a stranger. */
  const socket = (): RelayMember => {
    const one = new RelayMember(relay.port);
    t.after(() => one.close());
    return one;
  };
  const dropped = async (reason: keyof ReturnType<Relay['counters']>['dropped'], count: number) => {
    await until(`${count} dropped as ${reason}`, () => (relay.counters().dropped[reason] ?? 0) >= count);
    assert.equal(relay.counters().dropped[reason], count);
  };
  return { relay, member, socket, handedOut, dropped };
}

/** Asserts equal bytes in the same order. Reports only the first difference. */
function assertSame(
  received: readonly { readonly datagram: Uint8Array }[],
  sent: readonly Uint8Array[],
): void {
  assert.equal(received.length, sent.length);
  for (const [i, { datagram }] of received.entries()) assert.deepEqual(datagram, sent[i], `number ${i}`);
}

const A = 7;
const B = 0xfffffff0;
const C = 1_000_000;

test('two bound members receive each other’s frames with the sender’s id', async (t) => {
  const { relay, member } = await start(t);
  const a = await member(A);
  const b = await member(B, '::1');
  a.send(frameTo(B, relayable(148)), frameTo(B, relayable(1312, 1)));
  assert.deepEqual(await b.frames(2), [
    { from: A, datagram: relayable(148) },
    { from: A, datagram: relayable(1312, 1) },
  ]);
  b.send(frameTo(A, relayable(32)));
  assert.deepEqual(await a.frames(1), [{ from: B, datagram: relayable(32) }]);
  const { in: taken, out, bound, dropped } = relay.counters();
  assert.deepEqual(
    [taken.udp, out.udp],
    [
      { frames: 3, bytes: 1492 },
      { frames: 3, bytes: 1492 },
    ],
  );
  assert.deepEqual([bound, dropped], [2, {}]);
});

test('only probes and WireGuard messages are relayed', async (t) => {
  const { member, dropped } = await start(t);
  const a = await member(A);
  const b = await member(B);
  const probe = new Uint8Array(100);
  viewOf(probe).setInt32(0, MAGIC.probe, true);
  const other = [new Uint8Array(200).fill(0x45), relayable(31), relayable(RELAY_FRAME.maxPayload + 1)];
  const long = new Uint8Array(257);
  viewOf(long).setInt32(0, MAGIC.probe, true);
  a.send(...[...other, long].map((datagram) => frameTo(B, datagram)), frameTo(B, probe));
  assert.deepEqual(await b.frames(1), [{ from: A, datagram: probe }]);
  await dropped('not-relayed', 4);
});

test('a frame may come from a channel or go to one', async (t) => {
  const { relay, member, handedOut } = await start(t);
  const a = await member(A);
  relay.attach(B);
  relay.attach(C);
  relay.fromChannel(B, A, relayable(1400, 3));
  assert.deepEqual(await a.frames(1), [{ from: B, datagram: relayable(1400, 3) }]);
  a.send(frameTo(B, relayable(500, 4)));
  await until('the frame for the channel', () => handedOut.length === 1);
  relay.fromChannel(B, C, relayable(80, 5));
  assert.deepEqual(handedOut, [
    { to: B, from: A, datagram: relayable(500, 4) },
    { to: C, from: B, datagram: relayable(80, 5) },
  ]);
  const { in: taken, out } = relay.counters();
  assert.deepEqual(taken, { udp: { frames: 1, bytes: 500 }, channel: { frames: 2, bytes: 1480 } });
  assert.deepEqual(out, { udp: { frames: 1, bytes: 1400 }, channel: { frames: 2, bytes: 580 } });
});

test('a channel follows the same rules', async (t) => {
  const { relay, handedOut } = await start(t);
  relay.attach(A);
  relay.attach(B);
  relay.fromChannel(A, A, relayable(100));
  relay.fromChannel(A, C, relayable(100));
  relay.fromChannel(C, A, relayable(100));
  relay.fromChannel(A, B, new Uint8Array(100));
  relay.fromChannel(A, B, new Uint8Array(0));
  assert.deepEqual(handedOut, []);
  assert.deepEqual(relay.counters().dropped, {
    'to-self': 1,
    'unknown-member': 1,
    unbound: 1,
    'not-relayed': 2,
  });
});

test('a stranger is neither relayed nor answered', async (t) => {
  const { relay, member, socket, dropped } = await start(t);
  const a = await member(A);
  const stranger = socket();
  stranger.send(frameTo(A, relayable(100)), relayable(100), Uint8Array.of(1));
  await dropped('unbound', 1);
  await dropped('malformed', 2);
  const session = relay.attach(B);
  const forged = { session: session.session, key: new Uint8Array(32) };
  stranger.send(stranger.makeBind(forged));
  const unknown = { session: new Uint8Array(8).fill(0xee), key: session.key };
  stranger.send(stranger.makeBind(unknown));
  await dropped('bad-bind', 2);
  assert.deepEqual(await stranger.receive(1, 50), []);
  assert.deepEqual(await a.receive(1, 50), []);
  assert.equal(relay.counters().bound, 1, 'only A');
});

test('frames to an unknown member, or to oneself, are dropped', async (t) => {
  const { member, dropped } = await start(t);
  const a = await member(A);
  a.send(frameTo(A, relayable(100)), frameTo(C, relayable(100)), frameTo(0, relayable(100)));
  await dropped('to-self', 1);
  await dropped('unknown-member', 2);
  assert.deepEqual(await a.receive(1, 50), []);
});

test('a repeated bind changes nothing, whatever its source address', async (t) => {
  const { relay, member, socket, dropped } = await start(t);
  const b = await member(B);
  const session = relay.attach(A);
  const a = socket();
  await a.bind(session);
  const again = a.makeBind(session, undefined, 2);
  const thief = socket();
  thief.send(again);
  a.send(again);
  await dropped('replayed-bind', 2);
  b.send(frameTo(A, relayable(64)));
  assert.equal((await a.frames(1)).length, 1);
  assert.deepEqual(await thief.receive(1, 50), []);
});

test('only someone who receives at an address can bind it', async (t) => {
  const { relay, member, socket } = await start(t);
  const b = await member(B);
  const session = relay.attach(A);
  const old = socket();
  await old.bind(session);
  // An intercepted bind, sent from another address, only causes a challenge.
  const elsewhere = socket();
  const caught = elsewhere.makeBind(session, undefined, 10);
  elsewhere.send(caught);
  const [challenge] = await elsewhere.receive(1, 10_000);
  assert.equal(viewOf(challenge!).getUint32(RELAY_CONTROL.kind, true), RELAY_KIND.challenge);
  b.send(frameTo(A, relayable(64)));
  assert.equal((await old.frames(1)).length, 1);
  // The cookie of another address is invalid.
  const cookie = challenge!.slice(RELAY_CONTROL.cookie, RELAY_CONTROL.padding);
  const third = socket();
  third.send(third.makeBind(session, cookie, 11));
  const [refused] = await third.receive(1, 10_000);
  assert.equal(viewOf(refused!).getUint32(RELAY_CONTROL.kind, true), RELAY_KIND.challenge);
});

test('each answer has the length of its bind, and names the sender’s address', async (t) => {
  const { relay, socket } = await start(t);
  const session = relay.attach(A);
  const a = socket();
  const { minLength, maxLength } = RELAY_CONTROL;
  let cookie: Uint8Array | undefined;
  for (const [kind, length] of [
    [RELAY_KIND.challenge, minLength],
    [RELAY_KIND.bound, maxLength],
    [RELAY_KIND.bound, minLength + 1],
  ] as const) {
    a.send(a.makeBind(session, cookie, undefined, length));
    const [bytes] = await a.receive(1, 10_000);
    const answer = decodeControl(relayCrypto, session.key, bytes!)!;
    assert.deepEqual([answer.kind, answer.length, answer.port], [kind, length, a.port]);
    cookie = answer.cookie;
  }
});

test('a member with a new NAT mapping is reached there, and not at the old one', async (t) => {
  const { relay, member, socket, dropped } = await start(t);
  const b = await member(B);
  const session = relay.attach(A);
  const old = socket();
  await old.bind(session);
  const fresh = socket();
  for (let i = 0; i < 2; i++) fresh.makeBind(session); // its sequence numbers continue after the old socket's
  await fresh.bind(session);
  b.send(frameTo(A, relayable(64)));
  assert.equal((await fresh.frames(1)).length, 1);
  assert.deepEqual(await old.receive(1, 50), []);
  old.send(frameTo(B, relayable(64)));
  await dropped('unbound', 1);
  assert.equal(relay.counters().bound, 2);
});

test('an address that another member binds belongs only to that member', async (t) => {
  const { relay, member, socket, handedOut } = await start(t);
  const c = await member(C);
  const one = socket();
  await one.bind(relay.attach(A));
  await one.bind(relay.attach(B));
  one.send(frameTo(C, relayable(64)));
  assert.deepEqual(await c.frames(1), [{ from: B, datagram: relayable(64) }]);
  assert.equal(relay.counters().bound, 2, 'B and C');
  c.send(frameTo(A, relayable(64)));
  await until('a frame for the channel', () => handedOut.length === 1);
});

test('a detached member is cut off at once, in both directions', async (t) => {
  const { relay, member, dropped } = await start(t);
  const a = await member(A);
  const b = await member(B);
  relay.detach(A);
  a.send(frameTo(B, relayable(64)));
  b.send(frameTo(A, relayable(64)));
  relay.fromChannel(A, B, relayable(64));
  relay.fromChannel(B, A, relayable(64));
  await dropped('unknown-member', 2);
  await dropped('unbound', 2);
  assert.deepEqual(await a.receive(1, 50), []);
  assert.deepEqual(await b.receive(1, 50), []);
});

test('a new session of a member ends the old one', async (t) => {
  const { relay, socket, dropped } = await start(t);
  const old = relay.attach(A);
  const a = socket();
  await a.bind(old);
  const session = relay.attach(A);
  a.send(a.makeBind(old));
  await dropped('bad-bind', 1);
  assert.equal(relay.counters().bound, 0);
  await a.bind(session);
  await until('the bind', () => relay.counters().bound === 1);
});

test('the number of members is limited, and rows of former members are reused', async (t) => {
  const { relay } = await start(t, { maxMembers: 3 });
  for (const id of [1, 2, 3]) relay.attach(id);
  assert.throws(() => relay.attach(4), { code: 'refused' });
  relay.attach(2);
  relay.detach(3);
  relay.attach(4);
  assert.throws(() => relay.attach(3), { code: 'refused' });
});

for (const offloads of [true, false]) {
  test(`runs of frames arrive complete ${offloads ? 'as runs' : 'without offloads'}`, async (t) => {
    const { relay, member, handedOut } = await start(t, { offloads });
    const a = await member(A);
    const b = await member(B);
    const c = await member(C);
    relay.attach(99);
    const random = new SeededRandom(5);
    const forB: Uint8Array[] = [];
    const forC: Uint8Array[] = [];
    const for99: Uint8Array[] = [];
    const noise = new Uint8Array(1440);
    let sent = 0;
    for (let run = 0; run < 60; run++) {
      const size = 100 + random.below(1100);
      const count = 1 + random.below(40);
      const datagrams: Uint8Array[] = [];
      for (let i = 0; i < count; i++) {
        for (let j = 4; j < noise.length; j++) noise[j] = random.below(256);
        const datagram = relayable(i === count - 1 ? 32 + random.below(size - 32) : size, noise);
        // Long sequences for one receiver, with others in between now and then.
        const way = random.below(12);
        const [to, list] =
          way === 0 ? ([C, forC] as const) : way === 1 ? ([99, for99] as const) : ([B, forB] as const);
        list.push(datagram);
        datagrams.push(frameTo(to, datagram));
      }
      a.sendRun(datagrams);
      sent += count;
      if (run % 10 === 9)
        await until('the relay to take them', () => relay.counters().in.udp.frames === sent);
    }
    assertSame(await b.frames(forB.length), forB);
    assertSame(await c.frames(forC.length), forC);
    await until('frames for the channel', () => handedOut.length === for99.length);
    assertSame(handedOut, for99);
    assert.deepEqual(relay.counters().dropped, {});
  });
}

test('100 000 random datagrams do no harm', async (t) => {
  const { relay, member } = await start(t);
  const a = await member(A);
  const b = await member(B);
  const stranger = new RelayMember(relay.port);
  t.after(() => stranger.close());
  const random = new SeededRandom(11);
  const session = relay.attach(C);
  const counted = (): number => Object.values(relay.counters().dropped).reduce((sum, n) => sum + n, 0);
  let sent = 0;
  while (sent < 100_000) {
    const batch: Uint8Array[] = [];
    for (let i = 0; i < 64; i++) {
      const bytes = new Uint8Array(random.below(160));
      for (let j = 0; j < bytes.length; j++) bytes[j] = random.below(256);
      const way = random.below(4);
      const view = viewOf(bytes);
      if (bytes.length >= 16 && way === 1) view.setInt32(0, MAGIC.relay, true);
      if (bytes.length >= 16 && way === 2) {
        view.setInt32(0, MAGIC.control, true);
        bytes.set(session.session.subarray(0, bytes.length - 8), 8);
      }
      batch.push(way === 3 ? stranger.makeBind(session).fill(random.below(256), 16, 24) : bytes);
    }
    (random.below(2) === 0 ? a : stranger).send(...batch);
    sent += batch.length;
    // Wait, because datagrams that the kernel drops test nothing.
    if (sent % 6400 === 0) await until('all to be counted', () => counted() >= sent * 0.9);
  }
  await until('all to be counted', () => counted() >= sent * 0.9);
  a.send(frameTo(B, relayable(64)));
  assert.equal((await b.frames(1)).length, 1);
});
