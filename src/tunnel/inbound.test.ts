import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { DataPlane } from '../../tests/kit/data-plane.js';
import { makePacket, makeSuperPacket } from '../../tests/kit/packets.js';
import { IPV4, TCP } from '../ip/packet.js';
import { VIRTIO } from '../ip/virtio.js';
import { allocate } from '../linux/ffi/memory.js';

/** TCP segments of a stream that are sent as one run, and received as one bundle. */
const SEGMENT = 1368;
const BUNDLE = 45 * SEGMENT;

test('a turn reads one bundle of a stream, so that its acknowledgments are not delayed by later bundles', (t) => {
  const plane = open(t);
  const bundles = 20;
  for (let i = 0; i < bundles; i++) {
    send(plane, makeSuperPacket({ payload: new Uint8Array(BUNDLE), sequence: i * BUNDLE }, SEGMENT));
  }
  for (let i = 0; i < bundles; i++) {
    assert.equal(plane.turnIn(), 1);
    assert.equal(plane.take(), VIRTIO.length + IPV4.minLength + TCP.minLength + BUNDLE);
    const { buffer, byteOffset } = plane.taken;
    const sequence = new DataView(buffer, byteOffset).getUint32(
      VIRTIO.length + IPV4.minLength + TCP.sequence,
    );
    assert.equal(sequence, i * BUNDLE, 'in order');
    assert.equal(plane.take(), -1, 'nothing else');
  }
  assert.ok(plane.turnIn() < 1);
});

test('a turn reads the bundles of a few streams, so that each is merged as well as a single stream', (t) => {
  const plane = open(t);
  const streams = 4;
  // A bundle has a quarter of each stream, so four bundles are one per stream.
  const segments = 11;
  const quarter = segments * SEGMENT;
  for (let i = 0; i < 12 * streams; i++) {
    const payload = new Uint8Array(quarter);
    const round = Math.floor(i / streams);
    const shape = { payload, sequence: round * quarter, identification: round * segments };
    const packet = makeSuperPacket({ ...shape, sourcePort: 1000 + (i % streams) }, SEGMENT);
    send(plane, packet, 61 + (i % streams));
  }
  const turns: number[][] = [];
  for (let count = plane.turnIn(); count > 0; count = plane.turnIn()) {
    const lengths: number[] = [];
    for (let length = plane.take(); length > 0; length = plane.take()) lengths.push(length);
    turns.push(lengths.map((length) => Math.round(length / quarter)));
  }
  const each = (quarters: number): number[] => Array.from({ length: streams }, () => quarters);
  assert.deepEqual(turns, [each(1), each(2), each(4), each(4), each(1)]);
});

test('a turn reads gradually more bundles of small datagrams', (t) => {
  const plane = open(t);
  const packet = makePacket({ protocol: 'udp', payload: new Uint8Array(64) });
  const perBundle = 64;
  const message = 128; // of 92 bytes, padded to 96, and WireGuard's 32
  for (let i = 0; i < 40 * perBundle; i++) send(plane, Uint8Array.of(...NO_OFFLOAD, ...packet), i + 1);
  const taken: number[] = [];
  for (let count = plane.turnIn(); count > 0; count = plane.turnIn()) taken.push(count);
  const most = 65_536 / (perBundle * message);
  assert.deepEqual(taken, [1, 2, 4, most, most, most, most, 1]);
});

const NO_OFFLOAD = new Uint8Array(VIRTIO.length);

function open(t: TestContext): DataPlane {
  const plane = new DataPlane();
  t.after(() => plane.close());
  return plane;
}

/** Sends a packet after its `virtio_net_hdr`; with a number, together with the packets before it, 64 at a time. */
function send(plane: DataPlane, packet: Uint8Array, number = 64): void {
  const memory = allocate(packet.length);
  memory.bytes.set(packet);
  plane.give(memory.address, packet.length);
  if (number % 64 === 0) plane.turnOut();
}
