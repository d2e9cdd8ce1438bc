import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import { VirtualNetwork, VirtualNode } from '../../tests/kit/virtual-network.js';
import { ERASE_AFTER_TIME } from './constants.js';
import type { MachineEvent } from './events.js';
import { MESSAGE_TYPE, TRANSPORT } from './messages.js';
import type { Peer } from './peer.js';

/** Two nodes with a session, and all session keys that their machines have ever derived. */
function connected() {
  const net = new VirtualNetwork(() => [10]);
  const crypto = new FakeCrypto(new SeededRandom(5));
  const a = new VirtualNode(net, crypto, 1);
  const b = new VirtualNode(net, crypto, 2);
  const keys: Uint8Array[] = [];
  for (const { dataPath } of [a, b]) {
    const apply = dataPath.apply.bind(dataPath);
    dataPath.apply = (event: Exclude<MachineEvent<Peer>, { kind: 'datagram' }>, now: number) => {
      if (event.kind === 'install-keypair') keys.push(event.sendingKey, event.receivingKey);
      apply(event, now);
    };
  }
  const peer = a.addPeer(b);
  b.addPeer(a);
  a.sendTo(2);
  net.runFor(100);
  return { net, a, b, peer, keys };
}
const isZero = (key: Uint8Array): boolean => key.every((byte) => byte === 0);

test('both sides have the same two keys while the session lives', () => {
  const { keys } = connected();
  const [send, receive] = [keys[0]!, keys[1]!];
  assert.equal(keys.length, 4);
  assert.ok(!isZero(send) && !isZero(receive));
  assert.deepEqual(keys[2], receive);
  assert.deepEqual(keys[3], send);
});

test('session keys are zeroed after 3 x REJECT_AFTER_TIME, [W] 6.3', () => {
  const { net, keys } = connected();
  net.runFor(ERASE_AFTER_TIME + 1000);
  assert.ok(keys.every(isZero));
});

test('session keys are zeroed when the peer is removed, the interface goes down, or the private key changes', () => {
  for (const end of ['remove', 'down', 'key'] as const) {
    const { net, a, peer, keys } = connected();
    if (end === 'remove') a.device.removePeer(peer, net.now);
    else if (end === 'down') a.device.down(net.now);
    else a.device.setPrivateKey(undefined, net.now);
    a.settle();
    assert.equal(keys.filter(isZero).length, 2, end);
  }
});

test('packets are padded to 16 bytes, and delivered without the padding', () => {
  const { net, a, b } = connected();
  for (const length of [0, 1, 12, 13, 500, 1399, 1400]) {
    a.sendTo(2, 'x'.repeat(length));
    net.runFor(50);
    assert.equal(b.received.at(-1)!.bytes.length, 20 + length);
    const { bytes } = net.sent.filter((one) => one.bytes[0] === MESSAGE_TYPE.transport).at(-1)!;
    const padded = bytes.length - TRANSPORT.overhead;
    assert.equal(padded, Math.min(1420, Math.ceil((20 + length) / 16) * 16));
  }
});
