import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../testkit/random.js';
import { Backoff } from './backoff.js';

test('waits grow from at most one second to at most thirty, and begin anew after a success', () => {
  const longest = new Backoff(() => 1);
  const waits = Array.from({ length: 8 }, () => longest.next());
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assert.equal(longest.next(9_999), 30_000, 'a connection that ended soon was no success');
  assert.equal(longest.next(10_000), 1000);
  longest.exhaust();
  assert.equal(longest.next(), 30_000);
});

test('five thousand nodes that lost their hub at once come back spread over the wait', () => {
  const random = new SeededRandom(1);
  const waits = Array.from({ length: 5000 }, () => new Backoff(() => random.fraction()).next(60_000));
  const perTenth = Array.from(
    { length: 10 },
    (_, i) => waits.filter((wait) => Math.floor(wait / 100) === i).length,
  );
  assert.equal(perTenth[0], 0, 'a hub that is started again has a moment');
  for (const count of perTenth.slice(1)) assert.ok(count > 450 && count < 660, `${perTenth}`);
});
