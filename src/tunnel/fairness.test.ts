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

/** Two peers: one that floods or is flooded, and one that must not be affected. */
const FLOOD = 2;
const QUIET = 3;
/** TCP segments that are sent as one run and received as one bundle. */
const SEGMENT = 1368;
const SEGMENTS = 45;
const LOCALHOST = Uint8Array.of(127, 0, 0, 1);

/** A packet that the device received, perhaps merged: its peer and its number. */
type Received = readonly [peer: number, number: number];

/** A data plane with these peers. */
function open(t: TestContext, ...peers: readonly number[]): DataPlane {
  const plane = new DataPlane();
  t.after(() => plane.close());
  for (const peer of peers) plane.addPeer(peer);
  return plane;
}

/** Gives the device copies of a datagram to or from a peer. Datagrams with different numbers are not merged. */
function give(plane: DataPlane, peer: number, number: number, length = 64, times = 1): void {
  const payload = new Uint8Array(length);
  const packet = makePacket({
    ...{ protocol: 'udp', payload, source: peer, destination: peer, sourcePort: number },
  });
  giveBytes(plane, Uint8Array.of(...new Uint8Array(VIRTIO.length), ...packet), times);
}

/** Gives the device a large packet to segment. */
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

/** The packets that the device received; the segments of one large packet count once. */
function takeAll(plane: DataPlane): Received[] {
  const received: Received[] = [];
  const view = new DataView(plane.taken.buffer, plane.taken.byteOffset);
  while (plane.take() > 0) {
    const peer = view.getUint8(VIRTIO.length + IPV4.source + 3);
    const number = view.getUint16(VIRTIO.length + IPV4.minLength);
    const last = received.at(-1);
    if (last?.[0] !== peer || last[1] !== number) received.push([peer, number]);
  }
  return received;
}

/** The packets that the device receives in each turn, until the socket is empty. */
function turnsIn(plane: DataPlane): Received[][] {
  const turns: Received[][] = [];
  while (plane.turnIn() > 0) turns.push(takeAll(plane));
  return turns;
}

const numbersOf = (received: readonly Received[], peer: number): number[] =>
  received.filter(([whose]) => whose === peer).map(([, number]) => number);
const count = (length: number, from = 0): number[] => Array.from({ length }, (_, i) => from + i);

test('a packet after a flood to another peer is sent in its turn', (t) => {
  const plane = open(t, FLOOD, QUIET);
  for (const peer of [FLOOD, QUIET]) plane.beginSession(peer);
  for (const i of count(10)) giveMany(plane, FLOOD, i);
  give(plane, QUIET, 10);
  for (const i of count(10, 11)) giveMany(plane, FLOOD, i);
  const batches: Received[][] = [];
  for (let i = 0; i < 11; i++) {
    plane.turnOut();
    batches.push(turnsIn(plane).flat());
  }
  assert.deepEqual(
    batches.flat().map(([, number]) => number),
    count(21),
  );
  // A batch has two large packets: 64 KB do not fill it, 128 KB do.
  assert.deepEqual(
    batches.map((batch) => numbersOf(batch, QUIET)),
    count(11).map((i) => (i === 5 ? [10] : [])),
  );
  assert.deepEqual(plane.drops.entries(), []);
});

test('packets for a peer without a session do not delay packets for others', (t) => {
  const plane = open(t, FLOOD, QUIET);
  plane.beginSession(QUIET);
  for (const i of count(20)) {
    giveMany(plane, FLOOD, i);
    give(plane, QUIET, i);
  }
  plane.turnOut(); // nothing of the flood is sent, so one batch reads all of it
  assert.deepEqual(
    turnsIn(plane).flat(),
    count(20).map((i) => [QUIET, i]),
  );
  assert.equal(plane.waiting(FLOOD), WAITING_PER_PEER);
  assert.deepEqual(plane.drops.entries(), [['queue-full', 20 * SEGMENTS - WAITING_PER_PEER]]);
});

test('flooded peers that do not answer leave room for packets to one that does', (t) => {
  const flooded = count(40, 10); // 23 of them fill the queue
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

test('if the kernel refuses a peer’s address, only that peer loses packets, and all are counted', (t) => {
  const plane = open(t, QUIET);
  plane.addPeer(FLOOD, { address: LOCALHOST, port: 0 }); // EINVAL
  for (const peer of [FLOOD, QUIET]) plane.beginSession(peer);
  for (const i of count(50)) {
    give(plane, FLOOD, i);
    give(plane, QUIET, i);
  }
  giveMany(plane, FLOOD, 50); // a run, whose datagrams are then sent singly
  give(plane, QUIET, 50);
  plane.turnOut();
  assert.deepEqual(
    turnsIn(plane).flat(),
    count(51).map((i) => [QUIET, i]),
  );
  assert.deepEqual(plane.drops.entries(), [['unreachable', 50 + SEGMENTS]]);
});

test('packets that meet a full socket are sent later, in order, for every peer', (t) => {
  const socket = fillable(t);
  const plane = open(t, FLOOD, QUIET);
  for (const peer of [FLOOD, QUIET]) plane.beginSession(peer);
  for (const i of count(30)) {
    giveMany(plane, FLOOD, i);
    give(plane, QUIET, i);
  }
  const received: Received[] = [];
  for (let turn = 0; received.length < 60; turn++) {
    assert.ok(turn < 200, `${received.length} of 60 arrived`);
    socket.room = turn % 3 === 0 ? 1 : 0; // room for one message or run, every third time
    plane.turnOut();
    if (turn % 3 === 1) assert.ok(plane.blocked);
    received.push(...turnsIn(plane).flat());
  }
  for (const peer of [FLOOD, QUIET]) assert.deepEqual(numbersOf(received, peer), count(30));
  assert.deepEqual(plane.drops.entries(), []);
});

test('peers that get sessions while the socket is full get all their packets later', (t) => {
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
  const received = turnsIn(plane).flat();
  assert.deepEqual(numbersOf(received, QUIET), [0]);
  for (const peer of peers) assert.deepEqual(numbersOf(received, peer), count(WAITING_PER_PEER), `${peer}`);
  assert.deepEqual(plane.drops.entries(), []);
});

test('a peer that waits for a full socket is not forgotten when another peer can send', (t) => {
  const socket = fillable(t);
  const { plane, peers } = waiting(t);
  socket.room = 0;
  for (const peer of peers) plane.beginSession(peer);
  assert.ok(plane.blocked);
  assert.ok(peers.some((peer) => plane.waiting(peer) > 0));
  socket.room = Number.POSITIVE_INFINITY;
  plane.beginSession(QUIET); // it has no packets, but sends the sealed packets of others
  assert.ok(!plane.blocked);
  plane.turnOut();
  const received = turnsIn(plane).flat();
  for (const peer of peers) assert.deepEqual(numbersOf(received, peer), count(WAITING_PER_PEER), `${peer}`);
  assert.deepEqual(plane.drops.entries(), []);
});

test('single packets of a peer are read between the bundles of another peer', (t) => {
  const plane = open(t, FLOOD, QUIET);
  for (const peer of [FLOOD, QUIET]) plane.beginSession(peer);
  for (const i of count(12)) {
    giveMany(plane, FLOOD, i);
    plane.turnOut(); // each bundle and each packet is sent separately
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
  // Packets wait for the end of their turn, at most four bundles.
  for (const turn of turns) assert.ok(numbersOf(turn, FLOOD).length <= 4, JSON.stringify(turns));
});

test('a flood from strangers takes only its own places in the queue', async (t) => {
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
  const received: Received[] = [];
  while (received.length === 0) {
    const taken = plane.turnIn();
    assert.ok(taken > 0, 'queued packets arrive');
    before += taken;
    received.push(...takeAll(plane));
  }
  assert.deepEqual(
    received,
    count(3).map((i) => [QUIET, i]),
  );
  assert.ok(before > 1000 && before <= 1000 + 32, `${before}`); // only the rest of their turn
});

/** A data plane in which more packets wait for sessions than the send buffer can hold. */
function waiting(t: TestContext): { plane: DataPlane; peers: readonly number[] } {
  const peers = count(8, 10);
  const plane = open(t, QUIET, ...peers);
  for (const peer of peers) {
    for (const i of count(WAITING_PER_PEER)) give(plane, peer, i, 1300);
    plane.turnOut();
  }
  return { plane, peers };
}

/** Makes sockets accept `room` more messages, then return EAGAIN. */
function fillable(t: TestContext): { room: number } {
  const socket = { room: Number.POSITIVE_INFINITY };
  refuseToSend(t, () => (socket.room-- > 0 ? 0 : ERRNO.EAGAIN));
  return socket;
}
