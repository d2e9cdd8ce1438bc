import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SearchPatience } from './search-patience.js';

test('the first search is given up at once, each after it later, and none is kept for more than eight seconds', () => {
  const patience = new SearchPatience();
  patience.begin(1_000);
  assert.equal(patience.rest(1_000), 0);
  const rests = Array.from({ length: 7 }, () => {
    patience.abandon();
    return patience.rest(1_000);
  });
  assert.deepEqual(rests, [500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
  assert.equal(patience.rest(8_999), 1);
  assert.ok(patience.rest(9_000) <= 0);
  patience.begin(9_000);
  assert.equal(patience.rest(9_000), 8_000);
  patience.reset();
  assert.equal(patience.rest(9_000), 0);
});
