import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TokenBucket } from './token-bucket.js';

test('a bucket gives its burst, then tokens as they refill', () => {
  const bucket = new TokenBucket({ rate: 2, burst: 3 });
  assert.deepEqual(
    [0, 0, 0, 0].map((now) => bucket.take(now)),
    [true, true, true, false],
  );
  assert.deepEqual(
    [499, 500, 500].map((now) => bucket.take(now)),
    [false, true, false],
  );
  assert.deepEqual(
    [60_000, 60_000, 60_000, 60_000].map((now) => bucket.take(now)),
    [true, true, true, false],
  );
});

test('setting the clock back takes no tokens away', () => {
  const bucket = new TokenBucket({ rate: 1, burst: 1 });
  assert.ok(bucket.take(10_000));
  assert.ok(!bucket.take(0));
  assert.ok(bucket.take(1_000));
});

test('tokens spent on credit must refill first', () => {
  const bucket = new TokenBucket({ rate: 10, burst: 2 });
  assert.deepEqual(
    [0, 0, 0].map((now) => bucket.spend(now)),
    [true, true, false],
  );
  assert.equal(bucket.wait(0), 200);
  assert.equal(bucket.wait(150), 50);
  assert.equal(bucket.wait(200), 0);
});

test('a bucket is full until a token is taken, and again once it is refilled', () => {
  const bucket = new TokenBucket({ rate: 10, burst: 2 });
  assert.ok(bucket.isFull(0));
  bucket.take(0);
  assert.ok(!bucket.isFull(99));
  assert.ok(bucket.isFull(100));
});
