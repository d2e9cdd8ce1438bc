import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../tests/kit/random.js';
import { WAITING_BYTES, WAITING_PER_PEER, type Waiting, WaitingPackets } from './waiting.js';

const newPeer = (): Waiting => ({ waiting: [], waitingBytes: 0 });
/** A packet with its number, at most 255. */
const packet = (length: number, number = 0): Uint8Array => new Uint8Array(length).fill(number, 0, 1);
const numbers = ({ waiting }: Waiting): number[] => waiting.map(([number]) => number!);
const count = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
const bytesOf = (peers: readonly Waiting[]): number =>
  peers.flatMap(({ waiting }) => waiting).reduce((sum, { length }) => sum + length, 0);

test('the newest packets for a peer are kept', () => {
  const [packets, peer] = [new WaitingPackets(), newPeer()];
  let gone = 0;
  for (const i of count(0, 200)) gone += packets.add(peer, packet(100, i));
  assert.equal(gone, 200 - WAITING_PER_PEER);
  assert.deepEqual(numbers(peer), count(200 - WAITING_PER_PEER, 200));
});

test('a peer that is flooded with the largest packets takes no room from other peers, earlier or later', () => {
  const packets = new WaitingPackets();
  const [flooded, early, late] = [newPeer(), newPeer(), newPeer()];
  const flood = (): void => {
    for (let i = 0; i < 200; i++) packets.add(flooded, packet(65_535));
  };
  for (const i of count(0, 5)) assert.equal(packets.add(early, packet(1420, i)), 0);
  flood();
  for (const i of count(0, 5)) packets.add(late, packet(1420, i));
  flood();
  for (const peer of [early, late]) assert.deepEqual(numbers(peer), count(0, 5));
  const bytes = bytesOf([flooded, early, late]);
  assert.ok(bytes <= WAITING_BYTES && bytes > WAITING_BYTES - 2 * 65_535, `${bytes}`);
});

test('a hundred flooded peers leave room for one that is not flooded', () => {
  const packets = new WaitingPackets();
  const flooded = Array.from({ length: 100 }, newPeer);
  const modest = newPeer();
  for (let round = 0; round < 150; round++) {
    for (const peer of flooded) packets.add(peer, packet(1420));
    if (round % 10 === 0) packets.add(modest, packet(1420, round));
    assert.ok(bytesOf([...flooded, modest]) <= WAITING_BYTES);
  }
  assert.deepEqual(
    numbers(modest),
    count(0, 15).map((i) => 10 * i),
  );
  const left = flooded.map(({ waiting }) => waiting.length);
  assert.ok(Math.max(...left) - Math.min(...left) <= 1, `${left}`);
});

test('if there is no room for one packet per peer, the newest peers keep theirs', () => {
  const packets = new WaitingPackets();
  const peers = Array.from({ length: 10_000 }, newPeer);
  for (const peer of peers) packets.add(peer, packet(1420));
  const waits = peers.map(({ waiting }) => waiting.length);
  const kept = waits.reduce((sum, n) => sum + n, 0);
  assert.ok(kept > 2000, `${kept}`);
  assert.deepEqual(waits.slice(-kept), Array<number>(kept).fill(1));
});

test('only peers above their share lose packets, and all packets are accounted for', () => {
  const random = new SeededRandom(3);
  const packets = new WaitingPackets();
  const peers = Array.from({ length: 30 }, newPeer);
  let [added, gone, taken] = [0, 0, 0];
  for (let step = 0; step < 20_000; step++) {
    const peer = peers[random.below(random.chance(0.5) ? 3 : peers.length)]!;
    if (peer.waiting.length > 0 && random.chance(0.1)) {
      const all = random.chance(0.1);
      taken += all ? packets.discard(peer) : 1;
      if (!all) packets.shift(peer);
      continue;
    }
    const before = peers.map(({ waiting, waitingBytes }) => ({ length: waiting.length, waitingBytes }));
    const one = packet(20 + random.below(random.chance(0.2) ? 65_000 : 1400));
    added++;
    gone += packets.add(peer, one);
    assert.ok(peer.waiting.includes(one) || peer.waiting.length === 0);
    const share = WAITING_BYTES / peers.filter(({ waiting }) => waiting.length > 0).length;
    peers.forEach(({ waiting }, i) => {
      if (peers[i] !== peer && waiting.length < before[i]!.length) assert.ok(before[i]!.waitingBytes > share);
    });
  }
  const left = peers.reduce((sum, { waiting }) => sum + waiting.length, 0);
  assert.equal(added, gone + taken + left);
  assert.ok(gone > 1000 && left > 100, `${gone}, ${left}`);
  for (const peer of peers) packets.discard(peer);
  assert.ok(peers.every(({ waitingBytes }) => waitingBytes === 0));
});
