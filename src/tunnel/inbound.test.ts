import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { IPV4, TCP } from '../ip/packet.js';
import { VIRTIO } from '../ip/virtio.js';
import { allocate } from '../linux/memory.js';
import { DataPlane } from '../testkit/data-plane.js';
import { makePacket, makeSuperPacket } from '../testkit/packets.js';

/** TCP segments of a stream that go as one run, and so come as one bundle. */
const SEGMENT = 1368;
const BUNDLE = 45 * SEGMENT;

test('a turn takes three bundles of a stream: what it is answered with does not wait for all that has come', (t) => {
  const plane = open(t);
  for (let i = 0; i < 20; i++) {
    send(plane, makeSuperPacket({ payload: new Uint8Array(BUNDLE), sequence: i * BUNDLE }, SEGMENT));
  }
  let next = 0;
  for (const bundles of [1, 2, 3, 3, 3, 3, 3, 2]) {
    assert.equal(plane.turnIn(), bundles);
    let bytes = 0;
    for (let length = plane.take(); length > 0; length = plane.take()) {
      const { buffer, byteOffset } = plane.taken;
      const tcp = VIRTIO.length + IPV4.minLength;
      const sequence = new DataView(buffer, byteOffset).getUint32(tcp + TCP.sequence);
      assert.equal(sequence, next + bytes, 'in order');
      bytes += length - tcp - TCP.minLength;
    }
    assert.equal(bytes, bundles * BUNDLE, 'and no more');
    next += bytes;
  }
  assert.ok(plane.turnIn() < 1);
});

test('a turn takes many bundles of small datagrams, but comes to that step by step', (t) => {
  const plane = open(t);
  const packet = makePacket({ protocol: 'udp', payload: new Uint8Array(64) });
  const perBundle = 64;
  const message = 128; // of 92 bytes, padded to 96, and WireGuard's 32
  for (let i = 0; i < 70 * perBundle; i++) send(plane, Uint8Array.of(...NO_OFFLOAD, ...packet), i + 1);
  const taken: number[] = [];
  for (let count = plane.turnIn(); count > 0; count = plane.turnIn()) taken.push(count);
  const most = (192 * 1024) / (perBundle * message);
  assert.deepEqual(taken, [1, 2, 4, 8, 16, most, 70 - 31 - most]);
});

const NO_OFFLOAD = new Uint8Array(VIRTIO.length);

function open(t: TestContext): DataPlane {
  const plane = new DataPlane();
  t.after(() => plane.close());
  return plane;
}

/** Lets a packet go out, behind its `virtio_net_hdr`; with a number, together with those before it, 64 at a time. */
function send(plane: DataPlane, packet: Uint8Array, number = 64): void {
  const memory = allocate(packet.length);
  memory.bytes.set(packet);
  plane.give(memory.address, packet.length);
  if (number % 64 === 0) plane.turnOut();
}
