import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import { payloadOf, VirtualNetwork, VirtualNode, type Weather } from '../../tests/kit/virtual-network.js';
import { ACTIVITY } from './activity.js';
import {
  ERASE_AFTER_TIME,
  JITTER,
  KEEPALIVE_TIMEOUT,
  REJECT_AFTER_MESSAGES,
  REJECT_AFTER_TIME,
  REKEY_AFTER_MESSAGES,
  REKEY_AFTER_TIME,
  REKEY_ATTEMPT_TIME,
  REKEY_TIMEOUT,
} from './constants.js';
import { makeKeypair, maySend, wantsRekeySending } from './keypair.js';
import { MESSAGE_TYPE, TRANSPORT } from './messages.js';
import type { ReceiverIndex } from './numbers.js';
import type { Peer } from './peer.js';

const DELAY = 10;

interface Pair {
  readonly network: VirtualNetwork;
  readonly a: VirtualNode;
  readonly b: VirtualNode;
  /** The peer b on node a. */
  readonly b_: Peer;
  /** The times at which `from` sent this kind of message, from `since` on. */
  sent(from: VirtualNode, what: keyof typeof SENT, since?: number): number[];
}

const SENT = {
  initiation: ([type]: Uint8Array) => type === MESSAGE_TYPE.initiation,
  response: ([type]: Uint8Array) => type === MESSAGE_TYPE.response,
  keepalive: (bytes: Uint8Array) =>
    bytes[0] === MESSAGE_TYPE.transport && bytes.length === TRANSPORT.minLength,
  data: (bytes: Uint8Array) => bytes[0] === MESSAGE_TYPE.transport && bytes.length > TRANSPORT.minLength,
} as const;

/** Two nodes that know each other. Datagrams take 10 ms unless `weather` says otherwise. */
function pair(weather: Weather = () => [DELAY]): Pair {
  const network = new VirtualNetwork(weather);
  const crypto = new FakeCrypto(new SeededRandom(7));
  const a = new VirtualNode(network, crypto, 1);
  const b = new VirtualNode(network, crypto, 2);
  const b_ = a.addPeer(b);
  b.addPeer(a);
  const sent: Pair['sent'] = (from, what, since = 0) =>
    network.sent
      .filter(
        (datagram) => datagram.from === from.endpoint && datagram.at >= since && SENT[what](datagram.bytes),
      )
      .map(({ at }) => at);
  return { network, a, b, b_, sent };
}

/** A session that a initiated, with nothing unanswered. */
function session(): Pair & { readonly since: number } {
  const made = pair();
  made.a.sendTo(2);
  made.network.runFor(2 * DELAY);
  const since = made.network.now; // when a derived it
  made.network.runFor(DELAY);
  made.b.sendTo(1);
  made.network.runFor(KEEPALIVE_TIMEOUT + 1000);
  assert.equal(made.a.received.length, 1);
  assert.equal(made.b.received.length, 1);
  return { ...made, since };
}

test('the first packet waits for a handshake, then confirms it, [W] 6.2', () => {
  const { network, a, b, sent } = pair();
  a.sendTo(2, 'first');
  network.runFor(100);
  assert.equal(sent(a, 'initiation').length, 1);
  assert.equal(sent(b, 'response').length, 1);
  assert.equal(sent(a, 'data').length, 1);
  assert.equal(sent(a, 'keepalive').length, 0);
  assert.deepEqual(
    b.received.map(({ bytes }) => payloadOf(bytes)),
    ['first'],
  );
});

test('a handshake without a packet to send is confirmed by a keepalive, [W] 5.4.3', () => {
  const { network, a, b_, sent } = pair();
  a.device.setPersistentKeepalive(b_, 25_000, network.now);
  a.settle();
  network.runFor(100);
  assert.equal(sent(a, 'keepalive').length, 1);
});

test('a lost initiation is sent again after REKEY_TIMEOUT and at most 333 ms of jitter, [W] 6.4', () => {
  const { network, a, b, sent } = pair(({ nth }) => (nth === 0 ? [] : [DELAY]));
  const start = network.now;
  a.sendTo(2);
  network.runFor(10_000);
  const [first, second, ...more] = sent(a, 'initiation');
  assert.equal(first, start);
  assert.ok(second! >= start + REKEY_TIMEOUT && second! <= start + REKEY_TIMEOUT + JITTER);
  assert.deepEqual(more, []);
  assert.equal(b.received.length, 1);
});

test('the jitter differs from one attempt to the next, [W] 6.1', () => {
  const { network, a, sent } = pair(() => []);
  a.sendTo(2);
  network.runFor(60_000);
  const times = sent(a, 'initiation');
  const pauses = times.slice(1).map((at, i) => at - times[i]!);
  assert.ok(new Set(pauses).size > 5);
  assert.ok(pauses.every((pause) => pause >= REKEY_TIMEOUT && pause <= REKEY_TIMEOUT + JITTER));
});

test('initiations are at least REKEY_TIMEOUT apart, however much there is to send, [W] 6.1', () => {
  const { network, a, sent } = pair(() => []);
  for (let i = 0; i < 300; i++) {
    a.sendTo(2);
    network.runFor(100);
  }
  const times = sent(a, 'initiation');
  assert.ok(times.length >= 5);
  for (const [i, at] of times.entries()) assert.ok(i === 0 || at - times[i - 1]! >= REKEY_TIMEOUT);
});

test('an unanswered handshake is given up after REKEY_ATTEMPT_TIME, and waiting packets are dropped, [W] 6.4', () => {
  const { network, a, sent } = pair(() => []);
  const start = network.now;
  a.sendTo(2);
  network.runFor(300_000);
  const last = sent(a, 'initiation').at(-1)!;
  assert.ok(last < start + REKEY_ATTEMPT_TIME);
  assert.ok(last > start + REKEY_ATTEMPT_TIME - REKEY_TIMEOUT - JITTER);
  assert.equal(a.device.drops.of('no-session'), 1);
});

test('new packets restart the attempt, [W] 6.4', () => {
  const { network, a, sent } = pair(() => []);
  const start = network.now;
  for (let i = 0; i < 60; i++) {
    a.sendTo(2);
    network.runFor(1000);
  }
  network.runFor(200_000);
  assert.ok(sent(a, 'initiation').at(-1)! > start + 60_000 + REKEY_ATTEMPT_TIME - 2 * REKEY_TIMEOUT);
});

test('the initiator starts a new session when it sends after REKEY_AFTER_TIME, [W] 6.2', () => {
  const { network, a, sent, since } = session();
  network.runUntil(since + REKEY_AFTER_TIME - 1);
  a.sendTo(2);
  assert.equal(sent(a, 'initiation').length, 1);
  network.runUntil(since + REKEY_AFTER_TIME);
  a.sendTo(2);
  assert.equal(sent(a, 'initiation').length, 2);
});

test('the responder does not start a new session when it sends after REKEY_AFTER_TIME, [W] 6.2', () => {
  const { network, b, sent, since } = session();
  network.runUntil(since + REKEY_AFTER_TIME + 1000);
  b.sendTo(1);
  network.runFor(1000);
  assert.deepEqual(sent(b, 'initiation'), []);
});

test('a rekey loses or delays no packet, [W] 6.2', () => {
  const { network, a, b, since } = session();
  network.runUntil(since + REKEY_AFTER_TIME - 5000);
  const before = b.received.length;
  for (let i = 0; i < 1000; i++) {
    a.sendTo(2, `a${i}`);
    b.sendTo(1, `b${i}`);
    network.runFor(10);
  }
  network.runFor(100);
  assert.equal(b.received.length - before, 1000);
  assert.equal(a.received.length - 1, 1000);
  assert.equal(b.events.filter(({ kind }) => kind === 'install-keypair').length, 2);
});

test('the initiator starts a new session when it receives shortly before REJECT_AFTER_TIME, [W] 6.2', () => {
  const { network, b, a, sent, since } = session();
  network.runUntil(since + REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT - 2 * DELAY);
  b.sendTo(1);
  network.runFor(DELAY);
  assert.equal(sent(a, 'initiation').length, 1);
  network.runFor(DELAY);
  b.sendTo(1);
  network.runFor(DELAY);
  assert.equal(sent(a, 'initiation').length, 2);
});

test('nothing is sent on a session older than REJECT_AFTER_TIME, [W] 6.2', () => {
  const { network, a, sent, since } = session();
  network.weather = () => [];
  network.runUntil(since + REJECT_AFTER_TIME);
  const now = network.now;
  a.sendTo(2);
  assert.deepEqual(sent(a, 'data', now), []);
  assert.deepEqual(sent(a, 'initiation', now), [now]);
});

test('nothing is accepted on a session older than REJECT_AFTER_TIME, [W] 6.2', () => {
  const { network, a, b, since } = session();
  network.runUntil(since + REJECT_AFTER_TIME - 2 * DELAY);
  network.weather = () => [2 * DELAY];
  b.sendTo(1, 'too late');
  network.runFor(2 * DELAY);
  assert.equal(a.device.drops.of('expired-key'), 1);
  assert.equal(a.received.length, 1);
});

test('after a suspend the first packet starts a new session, and nothing is sent on the old one, [W] 6.2', () => {
  const { network, a, b, sent } = session();
  network.now += 3_600_000; // no timer ran meanwhile
  const woke = network.now;
  a.sendTo(2, 'good morning');
  assert.deepEqual(sent(a, 'data', woke), []);
  network.runFor(100);
  assert.deepEqual(payloadOf(b.received.at(-1)!.bytes), 'good morning');
  assert.ok(sent(a, 'data', woke)[0]! > sent(b, 'response', woke)[0]!);
});

test('either role replaces a session after REKEY_AFTER_MESSAGES, and it ends at REJECT_AFTER_MESSAGES, [W] 6.2', () => {
  for (const initiator of [true, false]) {
    const keypair = makeKeypair(1 as ReceiverIndex, 2 as ReceiverIndex, initiator, 1000);
    assert.equal(wantsRekeySending(keypair, REKEY_AFTER_MESSAGES - 1, 1000), false);
    assert.equal(wantsRekeySending(keypair, REKEY_AFTER_MESSAGES, 1000), true);
    assert.equal(maySend(keypair, REJECT_AFTER_MESSAGES - 1, 1000), true);
    assert.equal(maySend(keypair, REJECT_AFTER_MESSAGES, 1000), false);
  }
  assert.ok(REJECT_AFTER_MESSAGES < 2 ** 53);
});

test('received data is answered by a keepalive after KEEPALIVE_TIMEOUT, [W] 6.5', () => {
  const { network, a, b, sent } = session();
  const start = network.now;
  b.sendTo(1);
  network.runFor(60_000);
  assert.deepEqual(sent(a, 'keepalive', start), [start + DELAY + KEEPALIVE_TIMEOUT]);
});

test('no keepalive is sent if data was sent in time, [W] 6.5', () => {
  const { network, a, b, sent } = session();
  const start = network.now;
  b.sendTo(1);
  network.runFor(KEEPALIVE_TIMEOUT - 1);
  a.sendTo(2);
  network.runFor(KEEPALIVE_TIMEOUT - 2);
  assert.deepEqual(sent(a, 'keepalive', start), []);
});

test('a keepalive is not answered by a keepalive, [W] 6.5', () => {
  const { network, a, b, sent } = session();
  const start = network.now;
  b.sendTo(1);
  network.runFor(60_000);
  assert.equal(sent(a, 'keepalive', start).length, 1);
  assert.deepEqual(sent(b, 'keepalive', start), []);
});

test('a steady one-way stream is answered every KEEPALIVE_TIMEOUT, [W] 6.5', () => {
  const { network, a, b, sent } = session();
  const start = network.now;
  for (let i = 0; i < 60; i++) {
    b.sendTo(1);
    network.runFor(1000);
  }
  const count = sent(a, 'keepalive', start).length;
  assert.ok(count >= 4 && count <= 6, `${count}`);
  assert.deepEqual(sent(b, 'initiation', start), []);
});

test('unanswered data starts a new handshake after KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, [W] 6.5', () => {
  const { network, a, sent } = session();
  const start = network.now;
  network.weather = () => [];
  a.sendTo(2);
  network.runFor(20_000);
  const [first] = sent(a, 'initiation', start);
  const due = start + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT;
  assert.ok(first! >= due && first! <= due + JITTER, `${first! - start}`);
});

test('a lost answer starts no handshake if another one follows, [W] 6.5', () => {
  const { network, a, b, sent } = session();
  const start = network.now;
  a.sendTo(2);
  network.runFor(14_000);
  a.sendTo(2);
  b.sendTo(1);
  network.runFor(60_000);
  assert.deepEqual(sent(a, 'initiation', start), []);
});

test('a restarted peer is reached again within KEEPALIVE_TIMEOUT + 2 x REKEY_TIMEOUT, [W] 6.5', () => {
  const { network, a, b } = session();
  b.device.down(network.now);
  b.settle();
  b.device.up(network.now);
  b.settle();
  for (let i = 0; i < 25; i++) {
    a.sendTo(2, `${i}`);
    network.runFor(1000);
  }
  const seen = b.received.slice(1).map(({ bytes }) => Number(payloadOf(bytes)));
  assert.ok(seen[0]! <= 16, `${seen[0]}`);
  assert.equal(seen.at(-1), 24);
});

test('a persistent keepalive is sent after an interval of silence in both directions', () => {
  const { network, a, b, b_, sent } = session();
  a.device.setPersistentKeepalive(b_, 25_000, network.now);
  a.settle();
  const start = network.now;
  assert.deepEqual(sent(a, 'keepalive', start), [start]);
  network.runFor(20_000);
  b.sendTo(1); // answered by a passive keepalive 10 s later
  network.runFor(DELAY + KEEPALIVE_TIMEOUT);
  const passive = network.now;
  network.runFor(30_000);
  assert.deepEqual(sent(a, 'keepalive', start + 1), [passive, passive + 25_000]);
});

test('a persistent keepalive makes sessions by itself, without end', () => {
  const { network, a, b_, sent } = pair(() => []);
  a.device.setPersistentKeepalive(b_, 25_000, network.now);
  a.settle();
  network.runFor(600_000);
  const times = sent(a, 'initiation');
  assert.ok(times.at(-1)! > network.now - 40_000);
});

test('without new sessions all keys are erased after 3 x REJECT_AFTER_TIME, [W] 6.3', () => {
  const { network, a, b, since } = session();
  network.runUntil(since + ERASE_AFTER_TIME - DELAY - 1);
  for (const { events } of [a, b]) assert.ok(!events.some(({ kind }) => kind === 'drop-keypair'));
  network.runUntil(since + ERASE_AFTER_TIME);
  for (const { events } of [a, b]) assert.ok(events.some(({ kind }) => kind === 'drop-keypair'));
});

test('failed handshake attempts do not prolong the life of keys, [W] 6.3', () => {
  const { network, a, since } = session();
  network.weather = () => [];
  for (let i = 0; i < 500; i++) {
    a.sendTo(2);
    network.runUntil(Math.max(network.now, since) + 1000);
  }
  network.runUntil(since + ERASE_AFTER_TIME);
  assert.equal(a.events.filter(({ kind }) => kind === 'drop-keypair').length, 1);
});

test('a handshake request is ignored if a handshake has just completed, [W] 6.2', () => {
  const { network, a, b_, sent, since } = session();
  const row = a.rows.get(2)!;
  row[ACTIVITY.asked] = since - 1;
  a.device.handleActivity(b_, network.now);
  a.settle();
  assert.equal(sent(a, 'initiation').length, 1);
  row[ACTIVITY.asked] = since + 1;
  a.device.handleActivity(b_, network.now);
  a.settle();
  assert.equal(sent(a, 'initiation').length, 2);
});

test('an idle pair sends nothing, and needs no timer after the keys are erased, [W] 6', () => {
  const { network, a, b } = session();
  const { length } = network.sent;
  network.runFor(3_600_000);
  assert.equal(network.sent.length, length);
  assert.equal(a.device.nextTimeout(), Infinity);
  assert.equal(b.device.nextTimeout(), Infinity);
});

test('after simultaneous initiations both have a session, and no packet is lost then or at the next rekey', () => {
  const { network, a, b } = pair();
  a.sendTo(2, 'a');
  b.sendTo(1, 'b');
  const count = 2000;
  for (let i = 0; i < count; i++) {
    network.runFor(100);
    a.sendTo(2, `a${i}`);
    b.sendTo(1, `b${i}`);
  }
  network.runFor(1000);
  assert.equal(a.received.length, count + 1);
  assert.equal(b.received.length, count + 1);
});
