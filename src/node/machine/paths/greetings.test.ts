import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../../../tests/kit/random.js';
import { greetings, RecentRecord } from './greetings.js';

const random = new SeededRandom(1);
const fraction = (): number => random.fraction();

test('recently active peers are greeted: a limited number, spread over time', () => {
  const peers = Array.from({ length: 500 }, (_, i) => i + 1);
  const plan = greetings({ at: 1_000_000, peers }, 1_010_000, fraction);
  assert.deepEqual([...plan.keys()], peers.slice(0, 32));
  const delays = [...plan.values()];
  assert.ok(new Set(delays).size > 16, 'spread');
  assert.ok(delays.every((delay) => delay >= 0 && delay < 250));
});

test('peers whose sessions have expired are not greeted', () => {
  assert.equal(greetings(undefined, 0, fraction).size, 0);
  const recent = { at: 1_000_000, peers: [5] };
  assert.equal(greetings(recent, 1_000_000 + 180_001, fraction).size, 0);
  assert.equal(
    greetings(recent, 1_000_000 - 180_001, fraction).size,
    0,
    'a clock that was set back by hours',
  );
  assert.equal(greetings(recent, 1_000_000 - 1_000, fraction).size, 1, 'or by a moment');
});

test('active peers are recorded within 5 s, and again each minute while they are active', () => {
  const record = new RecentRecord();
  let active: readonly number[] = [];
  const written: string[] = [];
  const run = (from: number, until: number): void => {
    for (let now = from; now < until; now += 250) {
      const peers = record.take(() => active, now);
      if (peers !== undefined) written.push(`${now}: ${peers}`);
    }
  };
  run(0, 60_000);
  assert.deepEqual(written, [], 'nobody');
  active = [7, 3];
  run(60_000, 200_000);
  assert.deepEqual(written, ['60000: 7,3', '120000: 7,3', '180000: 7,3']);
  active = [];
  run(200_000, 400_000);
  assert.deepEqual(written.slice(3), ['200000: ']);
  active = [9];
  assert.deepEqual(
    record.take(() => active, 400_001, true),
    [9],
    'at the end',
  );
});
