import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../../../tests/kit/random.js';
import { Backoff } from './backoff.js';

test('waits grow from one second to thirty at most, and start over after a success', () => {
  const longest = new Backoff(() => 1);
  const waits = Array.from({ length: 14 }, () => longest.next());
  assert.deepEqual(waits.slice(0, 3), [1000, 1400, 1960]);
  assert.deepEqual(waits.slice(-2), [30_000, 30_000]);
  assert.equal(longest.next(9_999), 30_000, 'a connection that ended soon was no success');
  assert.equal(longest.next(10_000), 1000);
  longest.exhaust();
  assert.equal(longest.next(), 30_000);
});

test("the unluckiest of five thousand nodes returns late by a fraction of the hub's absence", () => {
  const random = new SeededRandom(2);
  for (const away of [2_000, 5_000, 20_000]) {
    const back = Array.from({ length: 5000 }, () => {
      const backoff = new Backoff(() => random.fraction());
      let at = 0;
      while (at < away) at += backoff.next();
      return at;
    });
    const longest = Math.max(...back) - away;
    assert.ok(longest <= 0.4 * away + 1000, `${away}: ${longest}`);
  }
});

test('five thousand nodes that lost their hub at once return spread over the wait', () => {
  const random = new SeededRandom(1);
  const waits = Array.from({ length: 5000 }, () => new Backoff(() => random.fraction()).next(60_000));
  const perTenth = Array.from(
    { length: 10 },
    (_, i) => waits.filter((wait) => Math.floor(wait / 100) === i).length,
  );
  assert.equal(perTenth[0], 0, 'a hub that is started again has a moment');
  for (const count of perTenth.slice(1)) assert.ok(count > 450 && count < 660, `${perTenth}`);
});
