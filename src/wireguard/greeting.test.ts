import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import { VirtualNetwork, VirtualNode } from '../../tests/kit/virtual-network.js';

/** A peer keeps sending while a node is away for 2 s. @returns when the node receives it, milliseconds after its start */
function heardAfter(greets: boolean): number {
  const network = new VirtualNetwork(() => [20]);
  const crypto = new FakeCrypto(new SeededRandom(4));
  const peer = new VirtualNode(network, crypto, 1);
  const before = new VirtualNode(network, crypto, 2);
  peer.addPeer(before);
  before.addPeer(peer);
  const send = (milliseconds: number): void => {
    for (const end = network.now + milliseconds; network.now < end; network.runFor(100)) peer.sendTo(2);
  };
  send(5_000);
  assert.ok(before.received.length > 0);
  network.detach(before.endpoint);
  send(2_000);
  const again = new VirtualNode(network, crypto, 2, before.key);
  const known = again.addPeer(peer);
  const started = network.now;
  if (greets) again.device.greet(known, network.now);
  again.settle();
  send(20_000);
  return again.received[0]!.at - started;
}

test('a restarted node hears at once from peers it greets, and from others after they give up the old session', () => {
  const [greeted, other] = [heardAfter(true), heardAfter(false)];
  assert.ok(greeted <= 150, `${greeted} ms`);
  assert.ok(other > 5_000, `${other} ms`);
});
