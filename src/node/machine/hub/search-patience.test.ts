import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SearchPatience } from './search-patience.js';

test('the first search is abandoned at once, each later one after a longer time, up to 8 s', () => {
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
