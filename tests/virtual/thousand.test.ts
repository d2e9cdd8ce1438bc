import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failures, report } from './seeds.js';

test('a thousand networks of 10 to 20 nodes come together again after whatever happens to them', async () => {
  const found = await failures(1_000);
  assert.equal(found.length, 0, report(found));
});
