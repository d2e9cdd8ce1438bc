import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TokenBucket } from '../token-bucket.js';
import { LEARNED } from './observe.js';

test('learned addresses are reported one by one at first, then once a second', () => {
  const limit = new TokenBucket(LEARNED);
  const told = (seconds: number): number => {
    let count = 0;
    for (let now = seconds * 1000; now < (seconds + 1) * 1000; now += 0.5) if (limit.take(now)) count++;
    return count;
  };
  assert.equal(told(10), 100);
  for (let second = 11; second < 20; second++) assert.equal(told(second), 1);
  assert.equal(told(500), 100);
});
