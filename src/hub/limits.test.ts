import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AddressLimit, Bucket } from './limits.js';

test('a bucket gives its burst, and then as much as comes back', () => {
  const bucket = new Bucket(2, 3, 0);
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

test('a clock that is set back takes nothing from anybody', () => {
  const bucket = new Bucket(1, 1, 10_000);
  assert.ok(bucket.take(10_000));
  assert.ok(!bucket.take(0));
  assert.ok(bucket.take(1_000));
});

test('each address has its own limit, and all of an IPv6 customer one', () => {
  const limit = new AddressLimit(0.1, 1);
  assert.ok(limit.take('192.0.2.1', 0));
  assert.ok(!limit.take('192.0.2.1', 0));
  assert.ok(limit.take('192.0.2.2', 0));
  assert.ok(limit.take('2001:db8::1', 0));
  assert.ok(!limit.has('2001:db8::ffff', 0));
  assert.ok(limit.has('2001:db8:0:1::1', 0));
});

test('as many addresses as a stranger may have do not take more memory', () => {
  const limit = new AddressLimit(0.1, 1);
  for (let i = 0; i < 30_000; i++) limit.take(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 0);
  assert.ok(limit.has('10.0.0.1', 0), 'the oldest are forgotten');
  assert.ok(!limit.has(`10.0.${29_999 >> 8}.${29_999 & 255}`, 0));
});
