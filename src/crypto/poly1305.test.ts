import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { allocate } from '../linux/ffi/memory.js';
import { loadPoly1305, type Poly1305, Poly1305Calls, Poly1305Limbs } from './poly1305.js';

const KEY = 5; // nothing lies where it would be convenient
const MESSAGE = 64 + 3;
const memory = allocate(4096);

function tagOf(poly1305: Poly1305, key: Uint8Array, message: Uint8Array): Uint8Array {
  memory.bytes.set(key, KEY);
  memory.bytes.set(message, MESSAGE);
  poly1305.authenticate(memory, KEY, memory, MESSAGE, message.length);
  return new Uint8Array(Int32Array.from(poly1305.tag).buffer);
}

/** RFC 8439 §2.5.1, as it stands there, for whole blocks. */
function reference(key: Uint8Array, message: Uint8Array): Uint8Array {
  const number = (bytes: Uint8Array): bigint =>
    bytes.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const r = number(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
  let sum = 0n;
  for (let at = 0; at < message.length; at += 16) {
    sum = ((sum + number(message.subarray(at, at + 16)) + 2n ** 128n) * r) % (2n ** 130n - 5n);
  }
  sum += number(key.subarray(16));
  return Uint8Array.from({ length: 16 }, (_, i) => Number((sum >> BigInt(8 * i)) & 255n));
}

const HERE: readonly [string, Poly1305][] = [
  ['three calls', new Poly1305Calls()],
  ['the fastest one', loadPoly1305()],
];

for (const [name, poly1305] of HERE) {
  test(`Poly1305 by ${name} agrees with the one of RFC 8439 on random keys and messages`, () => {
    const bytes = (min: number, max: number) => fc.uint8Array({ minLength: min, maxLength: max });
    const blocks = fc.integer({ min: 0, max: 100 }).chain((count) => bytes(16 * count, 16 * count));
    fc.assert(
      fc.property(bytes(32, 32), blocks, (key, message) => {
        assert.deepEqual(tagOf(poly1305, key, message), reference(key, message));
      }),
      { numRuns: 300 },
    );
  });

  test(`Poly1305 by ${name} agrees with it where carries go all the way up: small keys, and messages of ones`, () => {
    const small = fc.integer({ min: 0, max: 64 });
    const ones = fc.integer({ min: 1, max: 20 }).chain((count) =>
      fc.array(fc.tuple(fc.nat(16 * count - 1), fc.nat(255)), { maxLength: 3 }).map((changes) => {
        const message = new Uint8Array(16 * count).fill(255);
        for (const [at, byte] of changes) message[at] = byte;
        return message;
      }),
    );
    fc.assert(
      fc.property(small, ones, fc.nat(255), fc.nat(255), (r, message, first, s) => {
        const key = new Uint8Array(32).fill(s, 16);
        key[0] = r;
        message[message.length - 16] = first;
        assert.deepEqual(tagOf(poly1305, key, message), reference(key, message));
      }),
      { numRuns: 5000, seed: 1 },
    );
  });

  test(`Poly1305 by ${name} carries, RFC 8439 appendix A.3, vectors 7 to 11`, () => {
    for (const [r, s, message, tag] of VECTORS) {
      const key = Uint8Array.from([...hex(r), ...hex(s)]);
      assert.equal(Buffer.from(tagOf(poly1305, key, hex(message))).toString('hex'), tag);
    }
  });
}

test('the state that is written here is OpenSSL’s where the processor has AVX-512 IFMA, and is not used elsewhere', () => {
  assert.equal(loadPoly1305() instanceof Poly1305Limbs, Poly1305Limbs.isUsable());
});

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const word = (byte: string, rest = '00'): string => byte + rest.repeat(15);

/** r, s, message, tag. */
const VECTORS: readonly (readonly [string, string, string, string])[] = [
  [word('02'), word('00'), word('ff', 'ff'), word('03')],
  [word('02'), word('ff', 'ff'), word('02'), word('03')],
  [word('01'), word('00'), word('ff', 'ff') + word('f0', 'ff') + word('11'), word('05')],
  [word('01'), word('00'), word('ff', 'ff') + word('fb', 'fe') + word('01', '01'), word('00')],
  [word('02'), word('00'), word('fd', 'ff'), word('fa', 'ff')],
];
