import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import { VirtualEndpoint, VirtualNetwork, VirtualNode } from '../../tests/kit/virtual-network.js';
import type { PeerNumber } from './numbers.js';

/** The shortest start time of the program, milliseconds. */
const RESTART = 150;

/** A node that sends many initiations, and one that detects a timestamp that does not increase. */
function acquainted() {
  const net = new VirtualNetwork(() => [10]);
  const crypto = new FakeCrypto(new SeededRandom(11));
  const judge = new VirtualNode(net, crypto, 2);
  const start = (key = crypto.generate()) => {
    const node = new VirtualNode(net, crypto, 1, key);
    node.addPeer(judge);
    return node;
  };
  const node = start();
  judge.addPeer(node);
  const refused = () => judge.device.drops.of('old-timestamp');
  return { net, judge, node, restart: () => start(node.key), refused };
}

/** Requests a handshake now, even just after another one. */
function greet(node: VirtualNode): void {
  for (const peer of node.device.peers) {
    peer.stop(node.now);
    peer.keepalive(node.now);
    node.device.handleActivity(peer, node.now);
  }
  node.settle();
}

test('timestamps for a peer strictly increase under any changes of clock and configuration', () => {
  const step = fc.oneof(
    fc.record({ pass: fc.nat(100) }),
    fc.record({ setClock: fc.integer({ min: -1e7, max: 1e7 }) }),
    fc.constant('greet' as const),
    fc.constant('remove and add' as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100, size: 'max' }), (steps) => {
      const { net, judge, node, refused } = acquainted();
      for (const one of steps) {
        if (one === 'greet') greet(node);
        else if (one === 'remove and add') {
          for (const peer of [...node.device.peers]) {
            node.device.removePeer(peer, net.now);
            node.dataPath.removePeer(peer);
          }
          node.addPeer(judge);
          greet(node);
        } else if ('pass' in one) net.runFor(one.pass);
        else net.wallOffset += one.setClock;
      }
      net.runFor(10_000);
      assert.equal(refused(), 0);
    }),
    { numRuns: 25 },
  );
});

test('after a restart with a thousand silent peers, no handshake has to wait for the clock', () => {
  const { net, judge, node, restart, refused } = acquainted();
  for (let i = 0; i < 1000; i++) {
    const silent = node.device.addPeer(new Uint8Array(32).fill(i >> 8).fill(i, 16), (100 + i) as PeerNumber);
    node.device.setEndpoint(silent, new VirtualEndpoint(99, i));
    node.device.setPersistentKeepalive(silent, 25_000, net.now);
  }
  node.settle();
  net.runFor(10_000);
  greet(node);
  net.runFor(100);
  node.device.down(net.now);
  net.runFor(RESTART);
  const sessions = judge.device.peers.next().value!;
  const before = sessions.lastHandshake;
  greet(restart());
  net.runFor(100);
  assert.equal(refused(), 0);
  assert.ok(sessions.lastHandshake > before, 'the first initiation after the restart is answered');
});

test('after any number of greetings to a peer, timestamps after a restart are newer', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(25), { minLength: 50, maxLength: 300, size: 'max' }), (pauses) => {
      const { net, node, restart, refused } = acquainted();
      for (const pause of pauses) {
        greet(node);
        net.runFor(pause);
      }
      node.device.down(net.now);
      net.runFor(RESTART);
      greet(restart());
      net.runFor(100);
      assert.equal(refused(), 0);
    }),
    { numRuns: 10 },
  );
});

test('a greeting that exceeds the burst is sent within 20 ms', () => {
  const { net, node } = acquainted();
  net.weather = () => [];
  for (let i = 0; i < 100; i++) greet(node);
  const sent = net.sent.length;
  assert.ok(sent >= 5 && sent < 20, `${sent} at once`);
  net.runFor(22);
  assert.equal(net.sent.length, sent + 1);
});
