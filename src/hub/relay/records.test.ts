import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairRing, FRAME_RECORD, FRAMES } from './records.js';

/** Writes records of a sender until the ring is full for it. */
function fill(ring: FairRing, sender: number): number {
  let count = 0;
  for (let at = ring.claim(sender); at >= 0; at = ring.claim(sender)) {
    ring.memory.view.setUint32(at + FRAME_RECORD.from, sender, true);
    ring.commit(sender);
    count++;
  }
  return count;
}

test('neither one sender nor several can fill the ring', () => {
  const ring = new FairRing(4);
  assert.equal(fill(ring, 0), FRAMES / 2);
  assert.equal(fill(ring, 1), FRAMES / 4);
  assert.equal(fill(ring, 2), FRAMES / 8);
  assert.ok(ring.claim(3) >= 0, 'room for a new sender');
});

test('frames that were read no longer count for their sender', () => {
  const writer = new FairRing(2);
  const reader = new FairRing(0, writer.ring.buffer);
  fill(writer, 0);
  fill(writer, 1);
  // Many times, so that the list of owners wraps.
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 200 && reader.ring.pending > 0; i++) reader.ring.release();
    fill(writer, round % 2);
  }
  while (reader.ring.pending > 0) reader.ring.release();
  assert.equal(fill(writer, 0), FRAMES / 2);
});
