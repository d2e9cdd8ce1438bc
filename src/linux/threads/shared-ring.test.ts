import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SharedRing } from './shared-ring.js';

test('records are read unchanged and in order, up to the capacity', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 200 }), (writes) => {
      const writer = new SharedRing(8, 4);
      const reader = new SharedRing(8, 4, writer.buffer);
      const expected: number[] = [];
      let next = 1;
      for (const write of writes) {
        if (write) {
          const at = writer.claim();
          assert.equal(at < 0, expected.length === 4);
          if (at < 0) continue;
          writer.view.setUint32(at, next);
          writer.commit();
          expected.push(next++);
        } else {
          const at = reader.peek();
          assert.equal(at < 0, expected.length === 0);
          if (at < 0) continue;
          assert.equal(reader.view.getUint32(at), expected.shift());
          reader.release();
        }
        assert.equal(reader.pending, expected.length);
      }
    }),
  );
});

test('the counters may wrap', () => {
  const ring = new SharedRing(8, 4);
  const words = new Int32Array(ring.buffer, 0, 2);
  words.fill(0x7fff_fffe); // written and read: two before the sign bit flips
  for (let i = 0; i < 4; i++) {
    const at = ring.claim();
    assert.ok(at >= 16 && at < 16 + 4 * 8);
    ring.view.setUint32(at, i);
    ring.commit();
  }
  assert.equal(ring.claim(), -1);
  for (let i = 0; i < 4; i++) {
    assert.equal(ring.view.getUint32(ring.peek()), i);
    ring.release();
  }
  assert.equal(ring.peek(), -1);
});
