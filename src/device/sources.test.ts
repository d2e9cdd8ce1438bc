import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { fakeInterface } from '../../tests/kit/fake-interface.js';
import type { Egress } from '../linux/net/egress.js';
import type { SocketEndpoint } from '../tunnel/engine.js';
import type { Peer } from '../wireguard/peer.js';
import { Sources } from './sources.js';

const ETH0 = 2;
const WLAN0 = 3;
const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const remote = (last: number) => ({ address: Uint8Array.of(198, 51, 100 + (last >> 8), last), port: 5 });
const side = (last: number, number: number) => ({ address: ours(last), interface: number, used: true });
const ours = (last: number) => Uint8Array.of(192, 0, 2, last);

/** An interface whose default route the test chooses, and a peer whose packets arrived on eth0 at the local address .1. */
function ready(t: TestContext) {
  let route: Egress = ETH0;
  const queries: string[] = [];
  const fake = fakeInterface(t, {
    egress: (from, to, mark) => {
      queries.push(`${from.join('.')} to ${to.join('.')} with ${mark}`);
      return route;
    },
  });
  const { device, engine } = fake;
  device.setPrivateKey(key(1));
  const peer = device.addPeer(key(9));
  device.setEndpoint(peer, remote(1));
  device.setUp(true);
  const hear = (last: number, number: number): void => {
    engine.events.roaming(peer.id, engine.endpoint(remote(1), 0, side(last, number)));
  };
  hear(1, ETH0);
  engine.forget();
  const move = (to: Egress): void => {
    route = to;
    device.networkChanged();
  };
  /** The commands to the data plane since the last call. */
  const commands = (): unknown[] => {
    const uses = engine.of('useSource').map(([, , use]) => use);
    engine.forget();
    return uses;
  };
  const used = (): boolean | undefined => (peer.endpoint as SocketEndpoint).source?.used;
  return { ...fake, peer, hear, move, commands, used, queries };
}

test('with a better route the kernel chooses the source address; the old one is used again when the route is back', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { move, commands, used } = ready(t);
  assert.equal(used(), true);
  move(WLAN0);
  assert.deepEqual([commands(), used()], [[false], false]);
  t.mock.timers.tick(1000);
  move(ETH0);
  assert.deepEqual([commands(), used()], [[true], true]);
});

test('route changes that do not affect a peer cause no command', (t) => {
  const { move, commands, used } = ready(t);
  move(ETH0);
  assert.deepEqual([commands(), used()], [[], true]);
});

test('of several addresses on one interface, the one that the peer sends to is used', (t) => {
  const { hear, move, commands, used } = ready(t);
  for (const last of [2, 3, 1]) {
    hear(last, ETH0);
    move(ETH0);
    assert.equal(used(), true);
  }
  assert.deepEqual(commands(), []);
});

test('a removed source address is not used; it is kept without a route, and for a local peer', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { move, commands } = ready(t);
  const expected: readonly (readonly [Egress, readonly boolean[]])[] = [
    ['no route', []],
    ['not a local address', [false]],
    ['local', [true]],
  ];
  for (const [egress, uses] of expected) {
    move(egress);
    assert.deepEqual(commands(), uses, `${egress}`);
    t.mock.timers.tick(1000);
  }
});

test('a late packet on the old interface does not bring the old address back', (t) => {
  const { move, hear, commands, used } = ready(t);
  hear(2, WLAN0);
  move(WLAN0);
  commands();
  hear(1, ETH0);
  assert.deepEqual([commands(), used()], [[false], false]);
});

test('handshake messages use the same source address as packets', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { device, engine, peer, move } = ready(t);
  const sources = (): unknown[] => {
    const used = engine.of('sendDatagram').map(([, to]) => (to as SocketEndpoint).source?.used);
    engine.forget();
    return used;
  };
  device.setPersistentKeepalive(peer, 25);
  assert.deepEqual(sources(), [true]);
  move(WLAN0);
  device.retryHandshake(peer);
  assert.deepEqual(sources(), [false]);
  engine.time += 5400;
  t.mock.timers.tick(5400);
  assert.deepEqual(sources(), [undefined], 'the source address for an unresponsive peer is forgotten');
});

test('a new mark or port clears the source addresses, and route lookups use the mark', (t) => {
  const { device, engine, peer, hear, queries } = ready(t);
  device.setFwmark(7);
  assert.equal((peer.endpoint as SocketEndpoint).source, undefined);
  hear(1, ETH0);
  assert.equal(queries.at(-1), '192.0.2.1 to 198.51.100.1 with 7');
  device.setListenPort(4321);
  assert.equal((peer.endpoint as SocketEndpoint).source, undefined);
  assert.equal(engine.of('forgetSource').length, 2);
});

test('peers at one address cause one route lookup, repeated after a change', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { device, engine, move, queries } = ready(t);
  for (let i = 10; i < 20; i++) {
    const peer = device.addPeer(key(i));
    device.setEndpoint(peer, remote(1));
    engine.events.roaming(peer.id, engine.endpoint(remote(1), 0, side(1, ETH0)));
  }
  assert.equal(queries.length, 1);
  move(ETH0);
  assert.equal(queries.length, 2);
});

test('constant route changes cost limited time, and the last change is noticed', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 1;
  let route: Egress = ETH0;
  let lookups = 0;
  const peers = Array.from({ length: 300 }, (_, i) => {
    const endpoint = { remote: remote(i), source: side(1, ETH0) } as SocketEndpoint;
    return {
      endpoint: { ...endpoint, using: (used) => withUse(endpoint, used) } as SocketEndpoint,
      isRemoved: false,
    };
  }) as unknown as Peer[];
  const sources = new Sources({
    egress: () => {
      now += 0.01;
      lookups++;
      return route;
    },
    now: () => now,
    peers: () => peers,
    change: (peer, endpoint) => {
      peer.endpoint = endpoint;
    },
  });
  const pass = async (milliseconds: number): Promise<void> => {
    now += milliseconds;
    t.mock.timers.tick(milliseconds);
    for (let i = 0; i < 300 / 64; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  for (let i = 0; i < 1000; i++) {
    sources.changed();
    await pass(1);
  }
  assert.ok(lookups * 0.01 < 1000 / 8, `${lookups} lookups in a second`);
  route = WLAN0;
  sources.changed();
  for (let i = 0; i < 100; i++) await pass(1);
  assert.ok(peers.every(({ endpoint }) => (endpoint as SocketEndpoint).source?.used === false));
  sources.close();
});

function withUse(endpoint: SocketEndpoint, used: boolean): SocketEndpoint {
  const source = { ...endpoint.source!, used };
  return { ...endpoint, source, using: (use) => withUse(endpoint, use) };
}
