import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAfter, TimestampSource, tai64n } from './tai64n.js';

const hex = (bytes: Uint8Array): string => [...bytes].map((b) => b.toString(16).padStart(2, '0')).join('');

test('a label is 2^62 + 10 + the seconds since 1970, big-endian, then the nanoseconds', () => {
  assert.equal(hex(tai64n(0, 0)), '400000000000000a00000000');
  assert.equal(hex(tai64n(2 ** 32, 0x3b000000)), '400000010000000a3b000000');
});

test('timestamps strictly increase, even if the clock stops or is set back', () => {
  const source = new TimestampSource();
  let last = source.next(1_700_000_000_000);
  for (let i = 0; i < 500; i++) {
    const next = source.next(i % 2 ? 1_700_000_000_000 : 1_000_000_000_000);
    assert.ok(isAfter(next, last));
    assert.ok(!isAfter(last, next) && !isAfter(next, next));
    last = next;
  }
  assert.ok(isAfter(source.next(1_700_000_100_000), last));
});

test('nanoseconds are coarse: their low 24 bits are zero, and they stay below a second', () => {
  const source = new TimestampSource();
  for (let wall = 1_700_000_000_000; wall < 1_700_000_002_000; wall += 13.7) {
    const view = new DataView(source.next(wall).buffer);
    assert.equal(view.getUint32(8) & 0xffffff, 0);
    assert.ok(view.getUint32(8) < 1e9);
  }
});
