import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type FakeInterface, FIRST_PORT, fakeInterface } from '../../tests/kit/fake-interface.js';
import { MAX_SIDE_CHANNEL, type SocketEndpoint } from '../tunnel/engine.js';
import type { Keypair } from '../wireguard/keypair.js';
import type { Peer } from '../wireguard/peer.js';

const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const address = (last: number) => ({ address: Uint8Array.of(192, 0, 2, last), port: 5 });

/** An interface that is up, with a key and one peer. */
function ready(t: TestContext, privateKey = 1, publicKey = key(9)): FakeInterface & { peer: Peer } {
  const fake = fakeInterface(t);
  fake.device.setPrivateKey(key(privateKey));
  const peer = fake.device.addPeer(publicKey);
  fake.device.setEndpoint(peer, address(1));
  fake.device.setUp(true);
  fake.engine.forget();
  return { ...fake, peer };
}

/** Two interfaces that are each other's peers. */
function pair(t: TestContext, options: Parameters<typeof fakeInterface>[1] = {}) {
  const [one, two] = [fakeInterface(t, options), fakeInterface(t, options)];
  one.device.setPrivateKey(key(1));
  two.device.setPrivateKey(key(2));
  const toTwo = one.device.addPeer(Uint8Array.from(two.device.publicKey!));
  const toOne = two.device.addPeer(Uint8Array.from(one.device.publicKey!));
  one.device.setEndpoint(toTwo, address(2));
  for (const { device } of [one, two]) device.setUp(true);
  return { one, two, toTwo, toOne };
}

/** Delivers the handshake messages of one interface to the other. */
function carry(from: FakeInterface, to: FakeInterface, last: number, relayPeer = 0): number {
  const messages = from.engine.of('sendDatagram').map(([bytes]) => bytes as Uint8Array);
  from.engine.forget();
  for (const bytes of messages) {
    to.engine.events.datagram(bytes, to.engine.endpoint(address(last), relayPeer), 0);
  }
  return messages.length;
}

test('a handshake gives both data planes the same keys, with sending and receiving swapped', (t) => {
  const { one, two, toTwo } = pair(t);
  one.device.setPersistentKeepalive(toTwo, 25);
  assert.equal(carry(one, two, 1), 1);
  const [, , twoSends, twoReceives] = two.engine.of('installKeypair')[0]!;
  assert.equal(carry(two, one, 2), 1);
  const [, keypair, oneSends, oneReceives] = one.engine.of('installKeypair')[0]!;
  assert.deepEqual([oneSends, oneReceives], [twoReceives, twoSends]);
  assert.deepEqual(one.engine.of('useKeypair'), [[toTwo.id, (keypair as Keypair).localIndex, true]]);
  assert.deepEqual(one.device.transfer(toTwo), { received: 92, sent: 148 });
  assert.equal(toTwo.lastHandshake, 1_700_000_000_123);
});

test('events are logged per peer in the words of wireguard-go, with a short public key', (t) => {
  const { one, two, toTwo } = pair(t);
  one.device.setPersistentKeepalive(toTwo, 25);
  carry(one, two, 1);
  carry(two, one, 2);
  assert.match(one.lines.join('\n'), /peer\(.{4}….{4}\) - Sending handshake initiation/);
  assert.match(one.lines.join('\n'), /- Received handshake response/);
  assert.match(two.lines.join('\n'), /- Received handshake initiation/);
  assert.match(two.lines.join('\n'), /- Sending handshake response/);
});

test('an interface that is down sends nothing', (t) => {
  const { one, two, toTwo } = pair(t);
  two.device.setUp(false);
  one.device.setPersistentKeepalive(toTwo, 25);
  carry(one, two, 1);
  assert.equal(two.engine.of('sendDatagram').length, 0);
  assert.equal(two.device.drops().get('down'), 1);
});

test('going down ends all sessions before it stops the data plane', (t) => {
  const { one, two, toTwo } = pair(t);
  one.device.setPersistentKeepalive(toTwo, 25);
  carry(one, two, 1);
  carry(two, one, 2);
  one.engine.forget();
  one.device.setUp(false);
  const calls = one.engine.calls.map(({ method }) => method);
  assert.ok(calls.includes('dropKeypair'));
  assert.equal(calls.at(-1), 'setUp');
});

test('setting the same private key ends no session, a new key does', (t) => {
  const { one, two, toTwo } = pair(t);
  one.device.setPersistentKeepalive(toTwo, 25);
  carry(one, two, 1);
  carry(two, one, 2);
  one.engine.forget();
  const again = key(1);
  one.device.setPrivateKey(again);
  assert.equal(one.engine.of('dropKeypair').length, 0);
  assert.ok(
    again.every((byte) => byte === 0),
    'the given copy is erased',
  );
  one.device.setPrivateKey(key(3));
  assert.equal(one.engine.of('dropKeypair').length, 1);
});

test('a private key is shown clamped, and all zeros mean none', (t) => {
  const { device } = fakeInterface(t);
  device.setPrivateKey(key(0xff));
  assert.equal(Buffer.from(device.privateKey!).toString('hex'), `f8${'ff'.repeat(30)}7f`);
  device.setPrivateKey(key(0));
  assert.equal(device.privateKey, undefined);
  assert.equal(device.publicKey, undefined);
});

test('a new endpoint from the data plane is not sent back to it', (t) => {
  const { engine, peer } = ready(t);
  engine.events.roaming(peer.id, engine.endpoint(address(7)));
  assert.deepEqual((peer.endpoint as SocketEndpoint).remote, address(7));
  assert.equal(engine.of('setEndpoint').length, 0);
});

test('reports of the data plane about a removed peer are ignored', (t) => {
  const { device, engine, peer } = ready(t);
  device.removePeer(peer);
  device.commit();
  engine.events.wakeUp(peer.id);
  engine.events.roaming(peer.id, engine.endpoint(address(7)));
  assert.equal(engine.peers.size, 0);
});

test('a lost initiation is sent again on time, even after a late timer', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { device, engine, peer } = ready(t);
  device.setPersistentKeepalive(peer, 25);
  assert.equal(engine.of('sendDatagram').length, 1);
  engine.time += 4_000;
  t.mock.timers.tick(4_000);
  assert.equal(engine.of('sendDatagram').length, 1);
  engine.time += 1_400;
  t.mock.timers.tick(1_400);
  assert.equal(engine.of('sendDatagram').length, 2);
});

test('after a suspend, which stops timers, overdue work is done within 5 seconds', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { one, two, toTwo } = pair(t);
  one.device.setPersistentKeepalive(toTwo, 65_535);
  carry(one, two, 1);
  carry(two, one, 2);
  one.engine.time += 3_600_000; // an hour of suspend
  t.mock.timers.tick(5_000);
  assert.equal(one.engine.of('dropKeypair').length, 1);
});

test('after a port change the old socket stays open until the data plane has switched', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { device, engine, sockets } = fakeInterface(t);
  device.setFwmark(51);
  engine.forget();
  device.setListenPort(7);
  assert.deepEqual(engine.of('setSocket'), [[7, 10]]);
  assert.deepEqual(
    [...sockets],
    [
      [FIRST_PORT, 51],
      [7, 51],
    ],
  );
  device.setListenPort(FIRST_PORT);
  assert.equal(device.listenPort, FIRST_PORT, 'the old port again, at once');
  t.mock.timers.tick(1_000);
  assert.deepEqual([...sockets.keys()], [FIRST_PORT]);
  device.setListenPort(FIRST_PORT);
  assert.equal(engine.of('setSocket').length, 2, 'the same port changes nothing');
  device.setListenPort(0);
  assert.notEqual(device.listenPort, FIRST_PORT, '0 means a new port');
});

test('a new mark or port makes the kernel choose source addresses again', (t) => {
  const { device, engine, peer, sockets } = ready(t);
  device.setFwmark(51820);
  assert.equal(sockets.get(FIRST_PORT), 51820);
  assert.deepEqual(engine.of('forgetSource'), [[peer.id]]);
});

test('changes of an unfinished request reach the data plane soon', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { device, engine, peer } = ready(t);
  device.allow(peer, { address: Uint8Array.of(10, 0, 0, 0), prefix: 8 });
  assert.equal(engine.of('setAllowedIps').length, 0);
  t.mock.timers.tick(100);
  assert.equal(engine.of('setAllowedIps').length, 1);
});

test('drops of both planes are added up', (t) => {
  const { device, engine } = ready(t);
  engine.dropped.set('malformed', 2);
  engine.events.datagram(new Uint8Array(5), engine.endpoint(address(1)), 0);
  assert.deepEqual(device.drops(), new Map([['malformed', 3]]));
});

test('the end of the data plane is reported', async (t) => {
  const { device, engine } = ready(t);
  engine.events.ended('device-gone');
  assert.equal(await device.ended, 'device-gone');
});

test('a data plane that has ended gets no more commands', async (t) => {
  const { device, engine } = ready(t);
  engine.events.ended('device-gone');
  await device.close();
  assert.deepEqual(
    engine.calls.map(({ method }) => method),
    ['close'],
  );
});

test('closing drops all keys, ends the data plane, then closes the sockets', async (t) => {
  const { one, two, toTwo } = pair(t);
  one.device.setPersistentKeepalive(toTwo, 25);
  carry(one, two, 1);
  carry(two, one, 2);
  const shown = one.device.privateKey!;
  await one.device.close();
  assert.equal(one.engine.of('dropKeypair').length, 1);
  assert.equal(one.engine.calls.at(-1)!.method, 'close');
  assert.equal(one.sockets.size, 0);
  assert.ok(shown.every((byte) => byte === 0));
});

test('handshake messages move a peer unless its owner sets endpoints, and are answered at their source', (t) => {
  for (const paths of ['peers', 'owner'] as const) {
    const { one, two, toTwo, toOne } = pair(t, { paths });
    two.device.setEndpoint(toOne, address(9), 5);
    two.engine.forget();
    one.device.setPersistentKeepalive(toTwo, 25);
    carry(one, two, 1, 8);
    const at = ({ endpoint }: Peer) => {
      const { remote, relayPeer } = endpoint as SocketEndpoint;
      return [remote.address[3], relayPeer];
    };
    const answer = two.engine.of('sendDatagram')[0]![1] as SocketEndpoint;
    assert.deepEqual([answer.remote, answer.relayPeer], [address(1), 8]);
    assert.deepEqual(at(toOne), paths === 'owner' ? [9, 5] : [1, 8]);
    assert.equal(two.engine.of('setEndpoint').length, paths === 'owner' ? 0 : 1);
    carry(two, one, 7);
    assert.equal(one.engine.of('useKeypair').length, 1, 'the response was valid');
    assert.deepEqual(at(toTwo), paths === 'owner' ? [2, 0] : [7, 0]);
  }
});

test('setting an endpoint has an effect only if it is new, including the member behind the relay', (t) => {
  const { device, engine, peer } = ready(t);
  device.setEndpoint(peer, address(1));
  assert.equal(engine.of('setEndpoint').length, 0);
  device.setEndpoint(peer, address(1), 5);
  device.setEndpoint(peer, address(1), 5);
  device.setEndpoint(peer, address(1), 6);
  const members = engine.of('setEndpoint').map(([, endpoint]) => (endpoint as SocketEndpoint).relayPeer);
  assert.deepEqual(members, [5, 6]);
});

test('side-channel messages are sent and received even while the interface is down', (t) => {
  const came: unknown[] = [];
  const { device, engine } = fakeInterface(t, { sideChannel: (...args) => void came.push(args) });
  const from = device.endpoint(address(3), 7);
  engine.events.sideChannel(key(1), from);
  assert.deepEqual(came, [[key(1), from]]);
  device.sendSideChannel(key(2), from);
  assert.deepEqual(engine.of('sendDatagram'), [[key(2), from]]);
  device.setRelays([address(3)]);
  device.setRelays([]);
  assert.deepEqual(engine.of('setRelays'), [[[address(3)]], [[]]]);
  assert.throws(() => device.sendSideChannel(new Uint8Array(MAX_SIDE_CHANNEL + 1), from), RangeError);
});

test('when a path opens, an unanswered initiation is sent again at once, if there is one', (t) => {
  const { one, two, toTwo } = pair(t, { paths: 'owner' });
  one.device.retryHandshake(toTwo);
  assert.equal(one.engine.of('sendDatagram').length, 0);
  one.device.setPersistentKeepalive(toTwo, 25);
  one.engine.forget(); // the initiation is lost
  one.engine.time += 30;
  one.device.setEndpoint(toTwo, address(5), 4);
  one.device.retryHandshake(toTwo);
  const [[, to]] = one.engine.of('sendDatagram') as [[Uint8Array, SocketEndpoint]];
  assert.equal(to.relayPeer, 4);
  assert.equal(carry(one, two, 1), 1);
  carry(two, one, 2);
  one.engine.forget();
  one.device.retryHandshake(toTwo);
  assert.equal(one.engine.of('sendDatagram').length, 0);
});

test('an interface can start on a given port', (t) => {
  const { device, sockets } = fakeInterface(t, { port: 9 });
  assert.equal(device.listenPort, 9);
  assert.deepEqual([...sockets.keys()], [9]);
});
