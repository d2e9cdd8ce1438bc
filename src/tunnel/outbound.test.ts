import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { DataPlane } from '../../tests/kit/data-plane.js';
import { fixIpv4Checksum, makePacket, makeSuperPacket } from '../../tests/kit/packets.js';
import { IPV4 } from '../ip/packet.js';
import { VIRTIO } from '../ip/virtio.js';
import { ERRNO } from '../linux/ffi/errno.js';
import { errno, libc } from '../linux/ffi/libc.js';
import { allocate } from '../linux/ffi/memory.js';
import { MMSGHDR } from '../packets/udp-batch.js';

test('a path on which the kernel cannot cut up runs gets datagrams one by one, and nothing is lost', (t) => {
  const refused = refuseRuns(t);
  const plane = new DataPlane();
  t.after(() => plane.close());
  const payload = Uint8Array.from({ length: 40 * 1000 + 7 }, (_, i) => i * 31 + (i >> 8));
  const packet = makeSuperPacket({ version: 4, protocol: 'tcp', payload }, 1000);
  const memory = allocate(packet.length);
  memory.bytes.set(packet);
  assert.ok(plane.context.sendsSegments);
  // Several at once: what was prepared as runs before the first is refused has to go, too.
  const transfer = (): void => {
    for (let i = 0; i < 3; i++) plane.give(memory.address, packet.length);
    for (let i = 0; i < 8; i++) plane.turn();
    let came = 0;
    for (let length = plane.take(); length > 0; length = plane.take()) came += length - VIRTIO.length - 40;
    assert.equal(came, 3 * payload.length);
  };
  transfer();
  assert.equal(plane.context.sendsSegments, false);
  const before = refused.count;
  assert.ok(before > 0);
  transfer();
  assert.equal(refused.count, before, 'runs are tried no more');
  assert.deepEqual(plane.drops.entries(), []);
});

test('a packet that no peer has the address for, or whose peer has no endpoint, is answered: unreachable', (t) => {
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
  give([IPV4.destination, [10, 0, 1, 9]]); // its session is yet to come
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

/** From here on the kernel takes no runs: EIO, as before Linux 6.11 where the way out does not sum checksums. */
function refuseRuns(t: TestContext): { count: number } {
  const refused = { count: 0 };
  const { sendmmsg } = libc;
  t.after(() => {
    libc.sendmmsg = sendmmsg;
  });
  const header = allocate(MMSGHDR.size);
  libc.sendmmsg = (fd, messages, count, flags) => {
    for (let i = 0; i < count; i++) {
      const message = messages + i * MMSGHDR.size;
      libc.memcpy(header.address, message, MMSGHDR.size);
      const isRun = header.view.getUint32(MMSGHDR.controlLength, true) !== 0; // nothing else has a control message here
      if (!isRun && sendmmsg(fd, message, 1, flags) === 1) continue;
      if (isRun) refused.count++;
      if (i > 0) return i;
      if (isRun) leaveEio();
      return -1;
    }
    return count;
  };
  return refused;
}

/** There is nothing at address 0 of any process: mem_rw(), fs/proc/base.c. */
function leaveEio(): void {
  const memory = libc.open('/proc/self/mem', 0);
  const failed = libc.read(memory, allocate(8).address, 8);
  assert.ok(failed < 0 && errno() === ERRNO.EIO);
  // The descriptor stays open, for close(2) is free to change errno.
}
