import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { blake2s, kdf } from './blake2s.js';
import { compressInLoop, unrolledCompress } from './blake2s-compress.js';

const bytes = (max: number) => fc.uint8Array({ maxLength: max });

test('BLAKE2s agrees with OpenSSL’s, in any number of pieces', () => {
  fc.assert(
    fc.property(fc.array(bytes(200), { maxLength: 5 }), (inputs) => {
      const out = new Uint8Array(32);
      blake2s(inputs, out);
      assert.deepEqual(Buffer.from(out), createHash('blake2s256').update(Buffer.concat(inputs)).digest());
    }),
  );
});

test('the key derivation is HKDF of RFC 5869 with OpenSSL’s HMAC', () => {
  const hmac = (key: Uint8Array, ...inputs: Uint8Array[]) =>
    createHmac('blake2s256', key).update(Buffer.concat(inputs)).digest();
  const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
  fc.assert(
    fc.property(key, bytes(100), (salt, input) => {
      const root = hmac(salt, input);
      const first = hmac(root, Uint8Array.of(1));
      const second = hmac(root, first, Uint8Array.of(2));
      const third = hmac(root, second, Uint8Array.of(3));
      const [a, b, c] = [new Uint8Array(32), new Uint8Array(32), new Uint8Array(32)];
      kdf(salt, input, a, b, c);
      assert.deepEqual(
        [a, b, c].map((out) => Buffer.from(out)),
        [first, second, third],
      );
      kdf(salt, input, salt);
      assert.deepEqual(Buffer.from(salt), first);
    }),
  );
});

test('an output may be one of the inputs', () => {
  const a = new Uint8Array(32).fill(1);
  const b = new Uint8Array(32);
  blake2s([a, a], b);
  blake2s([a, a], a);
  assert.deepEqual(a, b);
});

test('the unrolled compression function equals the loop', () => {
  const unrolled = unrolledCompress();
  assert.ok(unrolled, 'code generation at run time is allowed');
  const words = (length: number) => fc.int32Array({ minLength: length, maxLength: length });
  fc.assert(
    fc.property(words(8), words(16), fc.nat(), fc.constantFrom(0, -1), (state, m, count, last) => {
      const expected = Int32Array.from(state);
      compressInLoop(expected, m, count, last);
      unrolled(state, m, count, last);
      assert.deepEqual(state, expected);
    }),
  );
});
