import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { DataPlane } from '../../tests/kit/data-plane.js';
import { makePacket, makeSuperPacket } from '../../tests/kit/packets.js';
import { refuseToSend } from '../../tests/kit/refusing-kernel.js';
import { IPV4 } from '../ip/packet.js';
import { VIRTIO } from '../ip/virtio.js';
import { ERRNO } from '../linux/ffi/errno.js';
import { allocate } from '../linux/ffi/memory.js';
import { WAITING_PER_PEER } from './waiting.js';

/** Peers: who is flooded or floods, and who is to feel nothing of it. */
const FLOOD = 2;
const QUIET = 3;
/** TCP segments that go as one run, and come as one bundle. */
const SEGMENT = 1368;
const SEGMENTS = 45;
const LOCALHOST = Uint8Array.of(127, 0, 0, 1);

/** A packet that came out, or that many were put together to: whose it is, and its number. */
type Came = readonly [peer: number, number: number];

/** A data plane with the peers that are named. */
function open(t: TestContext, ...peers: readonly number[]): DataPlane {
  const plane = new DataPlane();
  t.after(() => plane.close());
  for (const peer of peers) plane.addPeer(peer);
  return plane;
}

/** Gives the device a datagram to or from a peer, some times. Those of different numbers are not put together. */
function give(plane: DataPlane, peer: number, number: number, length = 64, times = 1): void {
  const payload = new Uint8Array(length);
  const packet = makePacket({
    ...{ protocol: 'udp', payload, source: peer, destination: peer, sourcePort: number },
  });
  giveBytes(plane, Uint8Array.of(...new Uint8Array(VIRTIO.length), ...packet), times);
}

/** Gives the device a super-packet. */
function giveMany(plane: DataPlane, peer: number, number: number): void {
  const payload = new Uint8Array(SEGMENTS * SEGMENT);
  giveBytes(
    plane,
    makeSuperPacket({ payload, source: peer, destination: peer, sourcePort: number }, SEGMENT),
  );
}

function giveBytes(plane: DataPlane, packet: Uint8Array, times = 1): void {
  const memory = allocate(packet.length);
  memory.bytes.set(packet);
  for (let i = 0; i < times; i++) plane.give(memory.address, packet.length);
}

/** What the device was given; what came of a super-packet in several pieces counts once. */
function takeAll(plane: DataPlane): Came[] {
  const came: Came[] = [];
  const view = new DataView(plane.taken.buffer, plane.taken.byteOffset);
  while (plane.take() > 0) {
    const peer = view.getUint8(VIRTIO.length + IPV4.source + 3);
    const number = view.getUint16(VIRTIO.length + IPV4.minLength);
    const last = came.at(-1);
    if (last?.[0] !== peer || last[1] !== number) came.push([peer, number]);
  }
  return came;
}

/** What comes in, turn by turn, until there is no more. */
function turnsIn(plane: DataPlane): Came[][] {
  const turns: Came[][] = [];
  while (plane.turnIn() > 0) turns.push(takeAll(plane));
  return turns;
}

const numbersOf = (came: readonly Came[], peer: number): number[] =>
  came.filter(([whose]) => whose === peer).map(([, number]) => number);
const count = (length: number, from = 0): number[] => Array.from({ length }, (_, i) => from + i);

test('behind a flood for another peer a packet leaves with the batch that its place in the line is in', (t) => {
  const plane = open(t, FLOOD, QUIET);
  for (const peer of [FLOOD, QUIET]) plane.beginSession(peer);
  for (const i of count(10)) giveMany(plane, FLOOD, i);
  give(plane, QUIET, 10);
  for (const i of count(10, 11)) giveMany(plane, FLOOD, i);
  const batches: Came[][] = [];
  for (let i = 0; i < 11; i++) {
    plane.turnOut();
    batches.push(turnsIn(plane).flat());
  }
  assert.deepEqual(
    batches.flat().map(([, number]) => number),
    count(21),
  );
  // A batch has two super-packets: 64 KB is not enough for it yet, 128 KB is.
  assert.deepEqual(
    batches.map((batch) => numbersOf(batch, QUIET)),
    count(11).map((i) => (i === 5 ? [10] : [])),
  );
  assert.deepEqual(plane.drops.entries(), []);
});

test('packets for a peer without a session do not hold up those for others', (t) => {
  const plane = open(t, FLOOD, QUIET);
  plane.beginSession(QUIET);
  for (const i of count(20)) {
    giveMany(plane, FLOOD, i);
    give(plane, QUIET, i);
  }
  plane.turnOut(); // nothing to send for the flood: one batch has it all
  assert.deepEqual(
    turnsIn(plane).flat(),
    count(20).map((i) => [QUIET, i]),
  );
  assert.equal(plane.waiting(FLOOD), WAITING_PER_PEER);
  assert.deepEqual(plane.drops.entries(), [['queue-full', 20 * SEGMENTS - WAITING_PER_PEER]]);
});

test('peers who are flooded and do not answer leave room for the packets of one who will', (t) => {
  const flooded = count(40, 10); // 23 of them have all the room that there is
  const plane = open(t, QUIET, ...flooded);
  const flood = (): void => {
    for (const peer of flooded) {
      give(plane, peer, 0, 1380, WAITING_PER_PEER / 2);
      plane.turnOut();
    }
  };
  flood();
  flood();
  for (const i of count(5)) give(plane, QUIET, i);
  flood();
  assert.equal(plane.waiting(QUIET), 5);
  plane.beginSession(QUIET);
  assert.deepEqual(
    turnsIn(plane).flat(),
    count(5).map((i) => [QUIET, i]),
  );
});

test('a peer whose address the kernel refuses costs the others in its batch nothing, and all of its own are counted', (t) => {
  const plane = open(t, QUIET);
  plane.addPeer(FLOOD, { address: LOCALHOST, port: 0 }); // EINVAL
  for (const peer of [FLOOD, QUIET]) plane.beginSession(peer);
  for (const i of count(50)) {
    give(plane, FLOOD, i);
    give(plane, QUIET, i);
  }
  giveMany(plane, FLOOD, 50); // a run, which is tried datagram by datagram
  give(plane, QUIET, 50);
  plane.turnOut();
  assert.deepEqual(
    turnsIn(plane).flat(),
    count(51).map((i) => [QUIET, i]),
  );
  assert.deepEqual(plane.drops.entries(), [['unreachable', 50 + SEGMENTS]]);
});

test('what finds the socket full goes later, of every peer, in its order', (t) => {
  const socket = fillable(t);
  const plane = open(t, FLOOD, QUIET);
  for (const peer of [FLOOD, QUIET]) plane.beginSession(peer);
  for (const i of count(30)) {
    giveMany(plane, FLOOD, i);
    give(plane, QUIET, i);
  }
  const came: Came[] = [];
  for (let turn = 0; came.length < 60; turn++) {
    assert.ok(turn < 200, `${came.length} of 60 came`);
    socket.room = turn % 3 === 0 ? 1 : 0; // one message, a run perhaps, every third time
    plane.turnOut();
    if (turn % 3 === 1) assert.ok(plane.blocked);
    came.push(...turnsIn(plane).flat());
  }
  for (const peer of [FLOOD, QUIET]) assert.deepEqual(numbersOf(came, peer), count(30));
  assert.deepEqual(plane.drops.entries(), []);
});

test('peers that get their sessions while the socket is full all get their packets when it is not', (t) => {
  const socket = fillable(t);
  const { plane, peers } = waiting(t);
  plane.beginSession(QUIET);
  give(plane, QUIET, 0);
  socket.room = 0;
  plane.turnOut();
  assert.ok(plane.blocked);
  for (const peer of peers) plane.beginSession(peer);
  assert.ok(peers.some((peer) => plane.waiting(peer) > 0));
  socket.room = Number.POSITIVE_INFINITY;
  plane.turnOut();
  const came = turnsIn(plane).flat();
  assert.deepEqual(numbersOf(came, QUIET), [0]);
  for (const peer of peers) assert.deepEqual(numbersOf(came, peer), count(WAITING_PER_PEER), `${peer}`);
  assert.deepEqual(plane.drops.entries(), []);
});

test('who was late for a full socket is not forgotten when another peer finds that it has room', (t) => {
  const socket = fillable(t);
  const { plane, peers } = waiting(t);
  socket.room = 0;
  for (const peer of peers) plane.beginSession(peer);
  assert.ok(plane.blocked);
  assert.ok(peers.some((peer) => plane.waiting(peer) > 0));
  socket.room = Number.POSITIVE_INFINITY;
  plane.beginSession(QUIET); // nothing of its own waits, but what is sealed leaves
  assert.ok(!plane.blocked);
  plane.turnOut();
  const came = turnsIn(plane).flat();
  for (const peer of peers) assert.deepEqual(numbersOf(came, peer), count(WAITING_PER_PEER), `${peer}`);
  assert.deepEqual(plane.drops.entries(), []);
});

test('between bundles of one peer the single packets of another come in when it is their turn', (t) => {
  const plane = open(t, FLOOD, QUIET);
  for (const peer of [FLOOD, QUIET]) plane.beginSession(peer);
  for (const i of count(12)) {
    giveMany(plane, FLOOD, i);
    plane.turnOut(); // each bundle, and each packet, is a datagram of its own on the way
    give(plane, QUIET, i);
    plane.turnOut();
  }
  const turns = turnsIn(plane);
  assert.deepEqual(
    turns.flat(),
    count(12).flatMap((i) => [
      [FLOOD, i],
      [QUIET, i],
    ]),
  );
  // What is in a turn waits for its end: four bundles at most.
  for (const turn of turns) assert.ok(numbersOf(turn, FLOOD).length <= 4, JSON.stringify(turns));
});

test('strangers who flood take their places in the line, and nothing else', async (t) => {
  const plane = open(t, QUIET);
  plane.beginSession(QUIET);
  const stranger = createSocket('udp4').bind(0, '127.0.0.1');
  t.after(() => stranger.close());
  await once(stranger, 'listening');
  const initiation = new Uint8Array(148).fill(1, 0, 1);
  const flood = async (): Promise<void> => {
    for (let i = 0; i < 1000; i++) {
      const datagram = i % 2 === 0 ? initiation : new Uint8Array(1 + (i % 1400));
      await new Promise((resolve) => stranger.send(datagram, plane.port, '127.0.0.1', resolve));
    }
  };
  await flood();
  for (const i of count(3)) give(plane, QUIET, i);
  plane.turnOut();
  await flood();
  let before = 0;
  const came: Came[] = [];
  while (came.length === 0) {
    const taken = plane.turnIn();
    assert.ok(taken > 0, 'what is in line comes');
    before += taken;
    came.push(...takeAll(plane));
  }
  assert.deepEqual(
    came,
    count(3).map((i) => [QUIET, i]),
  );
  assert.ok(before > 1000 && before <= 1000 + 32, `${before}`); // the turn that they are in, and no other
});

/** More packets than there is room for while nothing leaves wait for the sessions of some peers. */
function waiting(t: TestContext): { plane: DataPlane; peers: readonly number[] } {
  const peers = count(8, 10);
  const plane = open(t, QUIET, ...peers);
  for (const peer of peers) {
    for (const i of count(WAITING_PER_PEER)) give(plane, peer, i, 1300);
    plane.turnOut();
  }
  return { plane, peers };
}

/** From here on sockets take so many messages, and no more: then EAGAIN. */
function fillable(t: TestContext): { room: number } {
  const socket = { room: Number.POSITIVE_INFINITY };
  refuseToSend(t, () => (socket.room-- > 0 ? 0 : ERRNO.EAGAIN));
  return socket;
}
