import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { makePacket } from '../../tests/kit/packets.js';
import { fold, pseudoHeaderSum, sumReference, updateChecksum, wordSum } from './checksum.js';
import { IPV4, IPV6 } from './packet.js';

test('the example of RFC 1071 §3', () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assert.equal(sumReference(bytes, 0, 8), 0xddf2);
  assert.equal(wordSum(bytes)(0, 8), 0xddf2);
});

test('an odd last byte is the high half of a word', () => {
  const bytes = Uint8Array.of(0xff, 0x12, 0x34, 0x56);
  assert.equal(sumReference(bytes, 1, 3), 0x1234 + 0x5600);
  assert.equal(wordSum(bytes)(1, 3), 0x1234 + 0x5600);
  assert.equal(wordSum(bytes)(1, 0), 0);
});

test('the word-wise sum equals the reference at every offset and length', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(40), fc.nat(300), (bytes, offset, length) => {
      const from = Math.min(offset, bytes.length);
      const size = Math.min(length, bytes.length - from);
      assert.equal(wordSum(bytes)(from, size), sumReference(bytes, from, size));
    }),
    { numRuns: 3000 },
  );
});

test('the largest ranges of the largest bytes do not overflow', () => {
  const bytes = new Uint8Array(131_072 + 8).fill(0xff);
  for (const [offset, length] of [
    [0, 131_072],
    [1, 131_071],
    [3, 65_535],
  ] as const) {
    assert.equal(wordSum(bytes)(offset, length), sumReference(bytes, offset, length));
  }
});

test('memory that does not begin at a word boundary is summed too', () => {
  const bytes = Uint8Array.from({ length: 40 }, (_, i) => i * 7).subarray(1);
  assert.equal(wordSum(bytes)(2, 33), sumReference(bytes, 2, 33));
});

test('a packet with its pseudo-header sums to all ones', () => {
  for (const version of [4, 6] as const) {
    for (const protocol of ['tcp', 'udp'] as const) {
      const packet = makePacket({ version, protocol, payload: Uint8Array.of(1, 2, 3) });
      const at = version === 4 ? IPV4.minLength : IPV6.headerLength;
      const length = packet.length - at;
      const pseudo = pseudoHeaderSum(new DataView(packet.buffer), 0, protocol === 'tcp' ? 6 : 17, length);
      assert.equal(fold(pseudo + sumReference(packet, at, length)), 0xffff);
    }
  }
});

test('the update for one changed word equals a new checksum, RFC 1624', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 20, maxLength: 20 }), fc.nat(0xffff), (bytes, after) => {
      const view = new DataView(bytes.buffer);
      view.setUint16(2, 1); // the two may differ only for all zeros
      const before = view.getUint16(4);
      const checksum = 0xffff - sumReference(bytes, 0, 20);
      view.setUint16(4, after);
      assert.equal(updateChecksum(checksum, before, after), 0xffff - sumReference(bytes, 0, 20));
    }),
  );
});
