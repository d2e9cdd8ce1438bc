import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import {
  innerPacket,
  payloadOf,
  VirtualEndpoint,
  VirtualNetwork,
  VirtualNode,
} from '../../tests/kit/virtual-network.js';
import { LametunError } from '../errors.js';
import { CookieHolder } from './cookie.js';
import type { Drop } from './drops.js';
import { UNDER_LOAD_QUEUE } from './machine.js';
import { COOKIE_REPLY, INITIATION, MESSAGE_TYPE, RESPONSE, TRANSPORT, viewOf } from './messages.js';
import type { PeerNumber } from './numbers.js';

const STRANGER = new VirtualEndpoint(66, 6);

function network(seed = 11) {
  const net = new VirtualNetwork(() => [10]);
  const crypto = new FakeCrypto(new SeededRandom(seed));
  const a = new VirtualNode(net, crypto, 1);
  const b = new VirtualNode(net, crypto, 2);
  return { net, crypto, a, b };
}

function acquainted() {
  const made = network();
  const peerOfA = made.a.addPeer(made.b);
  const peerOfB = made.b.addPeer(made.a);
  return { ...made, peerOfA, peerOfB };
}

function connected() {
  const made = acquainted();
  made.a.sendTo(2);
  made.net.runFor(100);
  made.b.sendTo(1);
  made.net.runFor(100);
  assert.equal(made.a.received.length + made.b.received.length, 2);
  return made;
}

const sentBy = (net: VirtualNetwork, from: VirtualNode, type: number): Uint8Array[] =>
  net.sent.filter((one) => one.from.equals(from.endpoint) && one.bytes[0] === type).map(({ bytes }) => bytes);

/** Gives a datagram to a node, and checks that one counter grows by one and nothing else happens. */
function assertDropped(
  net: VirtualNetwork,
  node: VirtualNode,
  bytes: Uint8Array,
  reason: Drop,
  from = STRANGER,
) {
  const before = new Map(node.device.drops.entries());
  const [sent, received, events] = [net.sent.length, node.received.length, node.events.length];
  node.receive(Uint8Array.from(bytes), from);
  const moved = node.device.drops.entries().filter(([name, count]) => count !== (before.get(name) ?? 0));
  assert.deepEqual(moved, [[reason, (before.get(reason) ?? 0) + 1]]);
  assert.deepEqual([net.sent.length, node.received.length, node.events.length], [sent, received, events]);
}

const changed = (bytes: Uint8Array, at: number): Uint8Array => {
  const copy = Uint8Array.from(bytes);
  copy[at]! ^= 1;
  return copy;
};

test('a datagram with another type or length is malformed', () => {
  const { net, a } = acquainted();
  for (const length of [0, 1, 31, 147, 149, 200]) {
    const bytes = new Uint8Array(length);
    if (length > 0) bytes[0] = 1;
    assertDropped(net, a, bytes, 'malformed');
  }
  assertDropped(net, a, new Uint8Array(64).fill(255), 'malformed');
});

test('an initiation with a wrong mac1 is not answered', () => {
  const { net, a, b } = acquainted();
  net.weather = () => [];
  a.sendTo(2);
  const [initiation] = sentBy(net, a, MESSAGE_TYPE.initiation);
  for (const at of [4, 10, 50, 100, INITIATION.mac1]) {
    assertDropped(net, b, changed(initiation!, at), 'bad-mac1');
  }
});

test('an initiation from an unknown key is not answered', () => {
  const { net, a, b } = network();
  a.addPeer(b);
  net.weather = () => [];
  a.sendTo(2);
  assertDropped(net, b, sentBy(net, a, MESSAGE_TYPE.initiation)[0]!, 'unknown-peer');
});

test('a replayed initiation is not answered, nor one with an older timestamp', () => {
  const { net, a, b } = acquainted();
  net.weather = ({ nth }) => (nth === 0 ? [] : [10]);
  a.sendTo(2);
  net.runFor(20_000);
  const [first, second] = sentBy(net, a, MESSAGE_TYPE.initiation);
  assertDropped(net, b, second!, 'old-timestamp');
  assertDropped(net, b, first!, 'old-timestamp');
  assert.equal(b.received.length, 1);
});

test('a peer can make sessions after its clock was set back', () => {
  const { net, a, b } = connected();
  net.wallOffset -= 86_400_000;
  net.runFor(200_000);
  a.sendTo(2, 'yesterday');
  net.runFor(1000);
  assert.equal(payloadOf(b.received.at(-1)!.bytes), 'yesterday');
});

test('a second initiation within 20 ms is not answered', () => {
  const { net, crypto, a, b } = network();
  a.addPeer(b);
  b.addPeer(a);
  const twin = new VirtualNode(net, crypto, 3, a.key); // the same peer at another endpoint, with its clock a little ahead
  twin.addPeer(b);
  net.weather = () => [];
  a.sendTo(2);
  net.wallOffset += 1000;
  twin.dataPath.handlePacket(innerPacket(1, 2, ''), net.now);
  twin.settle();
  const [one] = sentBy(net, a, MESSAGE_TYPE.initiation);
  const [two] = sentBy(net, twin, MESSAGE_TYPE.initiation);
  b.receive(one!, a.endpoint);
  assert.equal(sentBy(net, b, MESSAGE_TYPE.response).length, 1);
  net.runFor(19);
  assertDropped(net, b, two!, 'flooding');
  net.runFor(1);
  b.receive(two!, twin.endpoint);
  assert.equal(sentBy(net, b, MESSAGE_TYPE.response).length, 2);
});

test('an unexpected or changed response is dropped and does no harm', () => {
  const { net, crypto, a, b } = acquainted();
  net.weather = ({ bytes }) => (bytes[0] === MESSAGE_TYPE.response ? [] : [10]);
  a.sendTo(2);
  net.runFor(10);
  const [response] = sentBy(net, b, MESSAGE_TYPE.response);
  assertDropped(net, a, changed(response!, 20), 'bad-mac1');
  // With the public key anyone can make a valid mac1, but no more.
  const forged = changed(response!, RESPONSE.empty);
  const forger = new CookieHolder(crypto, a.key.publicKey.bytes);
  forger.seal(forged, net.now);
  assertDropped(net, a, forged, 'bad-handshake');
  const stray = Uint8Array.from(response!);
  viewOf(stray).setUint32(RESPONSE.receiver, 0x01020304, true);
  forger.seal(stray, net.now);
  assertDropped(net, a, stray, 'unknown-index');
  a.receive(response!, b.endpoint);
  net.runFor(100);
  assert.equal(b.received.length, 1);
});

test('transport data is dropped if it is replayed, changed, or without a session', () => {
  const { net, a, b } = connected();
  const [message] = sentBy(net, a, MESSAGE_TYPE.transport);
  assertDropped(net, b, message!, 'replayed');
  assertDropped(net, b, changed(message!, TRANSPORT.payload), 'bad-tag');
  assertDropped(net, b, changed(message!, TRANSPORT.counter), 'bad-tag');
  assertDropped(net, b, changed(message!, TRANSPORT.counter + 7), 'counter-limit');
  assertDropped(net, b, changed(message!, TRANSPORT.receiver), 'unknown-index');
});

test('an inner packet with a source address that is not the peer’s is dropped', () => {
  const { net, a, b } = connected();
  // A malicious peer seals a packet with another peer's address in its own valid session.
  a.dataPath.handlePacket(innerPacket(9, 2, 'I am 9'), net.now);
  a.settle();
  net.runFor(20);
  assert.equal(b.device.drops.of('not-allowed-source'), 1);
  assert.equal(b.received.length, 1);
});

test('outbound packets without a peer, without an endpoint, or malformed, are dropped', () => {
  const { net, a, b } = network();
  a.addPeer(b, { endpoint: undefined });
  a.sendTo(2);
  a.sendTo(3);
  a.dataPath.handlePacket(new Uint8Array(60), net.now);
  a.settle();
  assert.deepEqual(a.device.drops.entries(), [
    ['bad-inner-packet', 1],
    ['no-peer', 1],
    ['no-endpoint', 1],
  ]);
  assert.equal(net.sent.length, 0);
});

test('packets waiting for handshakes are limited per peer and in total', () => {
  const { net, crypto, a, b } = acquainted();
  const others = [3, 4, 5, 6, 7].map((id) => new VirtualNode(net, crypto, id));
  for (const other of others) a.addPeer(other);
  net.weather = () => [];
  for (let i = 0; i < 20; i++) a.sendTo(2);
  assert.equal(a.device.drops.of('queue-full'), 4);
  for (const other of others) for (let i = 0; i < 16; i++) a.sendTo(other.id);
  assert.equal(a.device.drops.of('queue-full'), 4 + 5 * 16 - 48);
  net.weather = () => [1];
  net.runFor(6000);
  assert.equal(b.received.length, 16);
});

test('an interface that is down answers nothing and has no sessions, and works again once it is up', () => {
  const { net, a, b } = connected();
  b.device.down(net.now);
  b.settle();
  const [initiation] = sentBy(net, a, MESSAGE_TYPE.initiation);
  const [message] = sentBy(net, a, MESSAGE_TYPE.transport);
  assertDropped(net, b, initiation!, 'down');
  assertDropped(net, b, message!, 'down');
  net.runFor(20_000);
  assert.equal(b.device.nextTimeout(), Infinity);
  b.device.up(net.now);
  b.settle();
  b.sendTo(1, 'back');
  net.runFor(1000);
  assert.equal(payloadOf(a.received.at(-1)!.bytes), 'back');
});

test('under load a handshake needs a cookie, and succeeds with it', () => {
  const { net, a, b } = acquainted();
  b.queued = UNDER_LOAD_QUEUE;
  a.sendTo(2, 'patience');
  net.runFor(100);
  const replies = sentBy(net, b, MESSAGE_TYPE.cookieReply);
  assert.equal(replies.length, 1);
  assert.equal(replies[0]!.length, COOKIE_REPLY.length);
  assert.equal(b.device.drops.of('cookie-sent'), 1);
  assert.equal(b.received.length, 0);
  net.runFor(6000); // the next retry carries mac2; a cookie reply alone triggers nothing, [W] 6.6
  assert.equal(b.received.length, 1);
  assert.equal(sentBy(net, a, MESSAGE_TYPE.initiation).length, 2);
});

test('under load handshakes with cookies are limited per source; without load they are not', () => {
  const { net, a, b } = acquainted();
  b.queued = UNDER_LOAD_QUEUE;
  a.sendTo(2);
  net.runFor(5400);
  const withCookie = sentBy(net, a, MESSAGE_TYPE.initiation)[1]!;
  const before = b.device.drops.of('old-timestamp');
  for (let i = 0; i < 10; i++) b.receive(withCookie, a.endpoint);
  assert.equal(b.device.drops.of('rate-limited'), 5);
  assert.equal(b.device.drops.of('old-timestamp') - before, 5);
  b.queued = 0;
  net.runFor(1001);
  for (let i = 0; i < 10; i++) b.receive(withCookie, a.endpoint);
  assert.equal(b.device.drops.of('rate-limited'), 5);
});

test('an unexpected cookie reply is dropped', () => {
  const { net, a, b } = acquainted();
  b.queued = UNDER_LOAD_QUEUE;
  a.sendTo(2);
  net.runFor(100);
  const [reply] = sentBy(net, b, MESSAGE_TYPE.cookieReply);
  assertDropped(net, a, reply!, 'bad-cookie');
  assertDropped(net, a, changed(reply!, COOKIE_REPLY.receiver), 'unknown-index');
});

test('the endpoint follows only authentic packets, [W] 2.1', () => {
  const { net, a, b, peerOfB } = connected();
  const [message] = sentBy(net, a, MESSAGE_TYPE.transport);
  const [initiation] = sentBy(net, a, MESSAGE_TYPE.initiation);
  b.receive(changed(message!, 20), STRANGER);
  b.receive(Uint8Array.from(message!), STRANGER);
  b.receive(Uint8Array.from(initiation!), STRANGER);
  assert.ok(peerOfB.endpoint?.equals(a.endpoint));
  const elsewhere = new VirtualEndpoint(77, 7777);
  a.moveTo(elsewhere);
  a.sendTo(2, 'from elsewhere');
  net.runFor(20);
  assert.ok(peerOfB.endpoint?.equals(elsewhere));
  b.sendTo(1, 'found you');
  net.runFor(20);
  assert.equal(payloadOf(a.received.at(-1)!.bytes), 'found you');
});

test('a responder that answers the first packet at once does not start its own handshake', () => {
  const { net, a, b } = acquainted();
  net.weather = ({ bytes }) => (bytes[0] === MESSAGE_TYPE.transport ? [] : [10]);
  a.sendTo(2);
  net.runFor(20);
  const [first] = sentBy(net, a, MESSAGE_TYPE.transport);
  net.now += 1;
  b.dataPath.handleDatagram(first!, a.endpoint, net.now); // the control plane has not run yet
  b.dataPath.handlePacket(innerPacket(2, 1, 'at once'), net.now);
  net.now += 0.01;
  b.settle();
  assert.equal(sentBy(net, b, MESSAGE_TYPE.initiation).length, 0);
  assert.equal(sentBy(net, b, MESSAGE_TYPE.transport).length, 1);
});

test('an unknown endpoint is learned from the peer’s handshake', () => {
  const { net, a, b } = network();
  a.addPeer(b);
  b.addPeer(a, { endpoint: undefined });
  a.sendTo(2);
  net.runFor(50);
  b.sendTo(1, 'hello to you');
  net.runFor(50);
  assert.equal(payloadOf(a.received[0]!.bytes), 'hello to you');
});

test('peers make a session with equal preshared keys, but not with different ones', () => {
  const { net, a, b, peerOfA, peerOfB } = acquainted();
  a.device.setPresharedKey(peerOfA, new Uint8Array(32).fill(1));
  a.sendTo(2);
  net.runFor(3000);
  assert.equal(a.device.drops.of('bad-handshake'), 1);
  assert.equal(b.received.length, 0);
  b.device.setPresharedKey(peerOfB, new Uint8Array(32).fill(1));
  net.runFor(6000);
  assert.equal(b.received.length, 1);
});

test('changing the private key ends all sessions, and new ones use the new key', () => {
  const { net, crypto, a, b } = connected();
  const key = crypto.generate();
  b.device.setPrivateKey(key, net.now);
  b.settle();
  assert.ok(b.events.some(({ kind }) => kind === 'drop-keypair'));
  const row = new Float64Array(16);
  a.device.removePeer(a.device.peer(b.key.publicKey.bytes)!, net.now);
  a.rows.set(2, row);
  const peer = a.device.addPeer(key.publicKey.bytes, 2 as PeerNumber, row, 0);
  a.dataPath.addPeer(peer);
  a.device.setEndpoint(peer, b.endpoint);
  a.settle();
  a.sendTo(2, 'new key');
  net.runFor(100);
  assert.equal(payloadOf(b.received.at(-1)!.bytes), 'new key');
});

test('a removed peer is not answered, and its keys are dropped', () => {
  const { net, a, b, peerOfB } = connected();
  const [message] = sentBy(net, a, MESSAGE_TYPE.transport);
  b.device.removePeer(peerOfB, net.now);
  b.settle();
  assertDropped(net, b, message!, 'unknown-index');
  net.runFor(200_000);
  a.sendTo(2);
  net.runFor(100);
  assert.ok(b.device.drops.of('unknown-peer') > 0);
});

test('a low-order public key can be configured, but no handshake with it succeeds', () => {
  const { net, a } = network();
  const row = new Float64Array(16);
  a.rows.set(9, row);
  const peer = a.device.addPeer(new Uint8Array(32), 9 as PeerNumber, row, 0);
  a.device.setEndpoint(peer, STRANGER);
  a.device.setPersistentKeepalive(peer, 1000, net.now);
  a.settle();
  net.runFor(60_000);
  assert.equal(net.sent.length, 0);
});

test('configuration errors throw, and change nothing', () => {
  const { a, b } = acquainted();
  const usage = (error: unknown): boolean => error instanceof LametunError && error.code === 'usage';
  assert.throws(() => a.device.addPeer(b.key.publicKey.bytes, 5 as PeerNumber), usage);
  assert.throws(() => a.device.addPeer(a.key.publicKey.bytes, 5 as PeerNumber), usage);
  assert.throws(() => a.device.addPeer(new Uint8Array(31), 5 as PeerNumber), usage);
  assert.equal([...a.device.peers].length, 1);
});

test('memory stays flat under a flood from strangers', () => {
  const { net, crypto, b } = network();
  b.queued = UNDER_LOAD_QUEUE;
  const bytes = new Uint8Array(INITIATION.length);
  for (let i = 0; i < 20_000; i++) {
    crypto.random(bytes);
    bytes.set([1, 0, 0, 0]);
    b.device.handleDatagram(bytes, STRANGER, net.now, 500);
  }
  assert.equal(b.device.poll(), undefined);
  assert.equal(b.device.drops.of('bad-mac1'), 20_000);
});

test('the slowest part of handshakes can be computed in advance, a few peers at a time', (t) => {
  const { net, crypto, a, b, peerOfA } = acquainted();
  const c = new VirtualNode(net, crypto, 3);
  const peerC = a.addPeer(c);
  const dh = t.mock.method(crypto, 'dh');
  const derived = () => dh.mock.callCount();
  assert.equal(a.device.prepare(1), true);
  assert.equal(derived(), 1);
  a.device.removePeer(peerC, net.now);
  assert.equal(a.device.prepare(1), false, 'nothing is prepared for a removed peer');
  assert.equal(derived(), 1);

  a.sendTo(2);
  net.runFor(100);
  assert.equal(b.received.length, 1);
  const before = derived();
  a.device.setPrivateKey(undefined, net.now);
  assert.equal(a.device.prepare(9), false);
  assert.equal(derived(), before, 'nothing to derive without a key');
  a.device.setPrivateKey(crypto.generate(), net.now);
  assert.equal(a.device.prepare(9), false);
  assert.equal(derived(), before + 1, 'another key means deriving again');
  assert.equal(peerOfA.isRemoved, false);
});
