import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AddressLimit, GuestLimit } from './limits.js';

test('each IPv4 address, and each IPv6 /64, has its own limit', () => {
  const limit = new AddressLimit({ rate: 0.1, burst: 1 });
  assert.ok(limit.take('192.0.2.1', 0));
  assert.ok(!limit.take('192.0.2.1', 0));
  assert.ok(limit.take('192.0.2.2', 0));
  assert.ok(limit.take('2001:db8::1', 0));
  assert.ok(!limit.take('2001:db8::ffff', 0));
  assert.ok(limit.take('2001:db8:0:1::1', 0));
});

test('memory is bounded for any number of addresses', () => {
  const limit = new AddressLimit({ rate: 0.1, burst: 1 });
  for (let i = 0; i < 30_000; i++) limit.take(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 0);
  assert.ok(!limit.take(`10.0.${29_999 >> 8}.${29_999 & 255}`, 0));
  assert.ok(limit.take('10.0.0.1', 0), 'the oldest address is forgotten');
});

test('guests at one address leave enough for guests at others', () => {
  const limit = new GuestLimit({ each: { rate: 1, burst: 10 }, all: { rate: 5, burst: 100 } });
  const taken = (address: string, times: number, now: number): number =>
    Array.from({ length: times }, () => limit.take(address, now)).filter(Boolean).length;
  assert.equal(taken('192.0.2.1', 1_000, 0), 10);
  assert.equal(taken('192.0.2.2', 5, 0), 5);
  const many = Array.from({ length: 1_000 }, (_, i) => taken(`2001:db8:0:${i.toString(16)}::1`, 5, 0));
  assert.equal(
    many.reduce((sum, each) => sum + each),
    85,
    '100 in total',
  );
  assert.equal(taken('192.0.2.1', 1_000, 2_000), 2);
});
