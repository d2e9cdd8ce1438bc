import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failures, report } from './seeds.js';

test('twenty networks of 200 nodes come together again after whatever happens to them', async () => {
  const found = await failures(20, 200);
  assert.equal(found.length, 0, report(found));
});
