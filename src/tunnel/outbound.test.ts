import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DataPlane } from '../../tests/kit/data-plane.js';
import { fixIpv4Checksum, makePacket, makeSuperPacket } from '../../tests/kit/packets.js';
import { refuseToSend } from '../../tests/kit/refusing-kernel.js';
import { IPV4 } from '../ip/packet.js';
import { VIRTIO } from '../ip/virtio.js';
import { ERRNO } from '../linux/ffi/errno.js';
import { allocate } from '../linux/ffi/memory.js';

/** A large TCP packet, and the length of its payload. */
function prepare(plane: DataPlane, segment: number): { give(): void; readonly bytes: number } {
  const payload = Uint8Array.from({ length: 40 * segment + 7 }, (_, i) => i * 31 + (i >> 8));
  const packet = makeSuperPacket({ version: 4, protocol: 'tcp', payload }, segment);
  const memory = allocate(packet.length);
  memory.bytes.set(packet);
  return { give: () => plane.give(memory.address, packet.length), bytes: payload.length };
}

/** How many bytes of TCP payload the device received. */
function takeAll(plane: DataPlane): number {
  let received = 0;
  for (let length = plane.take(); length > 0; length = plane.take()) received += length - VIRTIO.length - 40;
  return received;
}

for (const [name, errno] of [
  ['has no checksum offload', ERRNO.EIO],
  ['has a smaller MTU', ERRNO.EMSGSIZE],
] as const) {
  test(`a path that ${name} gets single messages, and nothing is lost`, (t) => {
    const attempts = refuseToSend(t, ({ segmentSize }) => (segmentSize === undefined ? 0 : errno));
    const plane = new DataPlane();
    t.after(() => plane.close());
    const { give, bytes } = prepare(plane, 1000);
    // Several at once: runs prepared before the first refusal must be sent too.
    const transfer = (): void => {
      for (let i = 0; i < 3; i++) give();
      for (let i = 0; i < 8; i++) plane.turn();
      assert.equal(takeAll(plane), 3 * bytes);
    };
    transfer();
    assert.ok(attempts.splice(0).some((attempt) => attempt.errno === errno));
    transfer();
    assert.ok(!attempts.some((attempt) => attempt.errno === errno), 'no more such runs');
    assert.deepEqual(plane.drops.entries(), []);
  });
}

test('messages that exceed the kernel’s queue or the MTU are dropped and counted', (t) => {
  let errno = 0;
  refuseToSend(t, () => errno);
  const plane = new DataPlane();
  t.after(() => plane.close());
  const { give, bytes } = prepare(plane, 1000);
  for (errno of [ERRNO.ENOBUFS, ERRNO.EMSGSIZE]) {
    give();
    plane.turn();
    assert.ok(!plane.blocked);
  }
  errno = 0;
  give();
  plane.turn();
  assert.equal(takeAll(plane), bytes);
  assert.deepEqual(plane.drops.entries(), [
    ['too-big', 41],
    ['congested', 41],
  ]);
});

test('a packet without a peer, or to a peer without an endpoint, is answered with "unreachable"', (t) => {
  const plane = new DataPlane();
  t.after(() => plane.close());
  plane.addPeer(9);
  plane.addPeer(8);
  const give = (change: readonly [number, readonly number[]]): void => {
    const packet = makePacket({ protocol: 'udp', payload: new Uint8Array(10) });
    packet.set(change[1], change[0]);
    const memory = allocate(VIRTIO.length + packet.length);
    memory.bytes.set(fixIpv4Checksum(packet), VIRTIO.length);
    plane.give(memory.address, memory.bytes.length);
    plane.turn();
  };
  const answer = (): string | undefined => {
    const length = plane.take();
    if (length < 0) return undefined;
    const at = VIRTIO.length;
    assert.deepEqual([...plane.taken.subarray(0, at)], new Array(at).fill(0));
    const { source, protocol, minLength } = IPV4;
    const from = plane.taken.subarray(at + source, at + source + 4).join('.');
    return `${plane.taken[at + protocol]}: ${plane.taken[at + minLength]}/${plane.taken[at + minLength + 1]} from ${from}`;
  };
  give([IPV4.destination, [192, 168, 1, 1]]);
  assert.equal(answer(), '1: 3/1 from 192.168.1.1');
  give([IPV4.destination, [10, 0, 1, 9]]); // the peer has no session yet
  assert.equal(answer(), undefined);
  assert.equal(plane.waiting(9), 1);
  plane.forgetEndpoint(8);
  give([IPV4.destination, [10, 0, 1, 8]]);
  assert.equal(answer(), '1: 3/1 from 10.0.1.8');
  give([IPV4.destination, [239, 1, 1, 1]]);
  assert.equal(answer(), undefined);
  assert.deepEqual(plane.drops.entries(), [
    ['no-peer', 2],
    ['no-endpoint', 1],
  ]);
});
