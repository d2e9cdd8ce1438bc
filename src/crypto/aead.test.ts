import assert from 'node:assert/strict';
import { createDecipheriv } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { workingOnes } from '../../tests/kit/implementations.js';
import { allocate } from '../linux/ffi/memory.js';
import { AEAD, type Aead, IMPLEMENTATIONS, loadAead } from './aead.js';

const KEY = 0;
const INPUT = 128;
const OUTPUT = 4096 + 3; // messages do not begin where it would be convenient
const memory = allocate(16_384);

function seal(aead: Aead, key: Uint8Array, counter: number, plain: Uint8Array): Uint8Array {
  memory.bytes.set(key, KEY);
  memory.bytes.set(plain, INPUT);
  aead.seal(memory.address + KEY, counter, memory, INPUT, memory, OUTPUT, plain.length);
  return memory.bytes.slice(OUTPUT, OUTPUT + plain.length + AEAD.tag);
}

function open(aead: Aead, key: Uint8Array, counter: number, sealed: Uint8Array): Uint8Array | undefined {
  memory.bytes.set(key, KEY);
  memory.bytes.set(sealed, OUTPUT);
  const length = sealed.length - AEAD.tag;
  const right = aead.open(memory.address + KEY, counter, memory, OUTPUT, memory, INPUT, length);
  return right ? memory.bytes.slice(INPUT, INPUT + length) : undefined;
}

/** Something else everywhere. */
const fill = (seed: number): void => {
  for (let i = 0; i < memory.bytes.length; i++) memory.bytes[i] = i * seed + (i >> 8);
};

/** What works on this machine; that the first does is what the speed depends on. */
const working = workingOnes(IMPLEMENTATIONS);

test('there is a fast implementation and a slow one, and the fast one is taken', () => {
  assert.ok(working.length >= 2, 'only one implementation works here: nothing to compare');
  assert.equal(loadAead().name, working[0]!.name);
  assert.match(working[0]!.name, /^OpenSSL/);
  assert.equal(working.at(-1)!.name, 'node:crypto');
});

for (const aead of working) {
  test(`${aead.name} agrees with node:crypto on random keys, counters and lengths`, () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.oneof(fc.nat(), fc.bigInt(0n, 2n ** 53n - 1n).map(Number)),
        fc.uint8Array({ maxLength: 1500 }),
        (key, counter, plain) => {
          const sealed = seal(aead, key, counter, plain);
          const nonce = Buffer.alloc(12);
          nonce.writeBigUInt64LE(BigInt(counter), 4);
          const reference = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: AEAD.tag });
          reference.setAuthTag(sealed.subarray(plain.length));
          assert.deepEqual(
            Uint8Array.from(
              Buffer.concat([reference.update(sealed.subarray(0, plain.length)), reference.final()]),
            ),
            plain,
          );
          assert.deepEqual(open(aead, key, counter, sealed), plain);
        },
      ),
      { numRuns: 200 },
    );
  });

  test(`${aead.name} refuses whatever was changed: ciphertext, tag, counter, key`, () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 100 }),
        fc.nat(),
        fc.nat(7),
        (plain, where, bit) => {
          const key = new Uint8Array(32).fill(7);
          const sealed = seal(aead, key, 5, plain);
          const forged = Uint8Array.from(sealed);
          forged[where % forged.length]! ^= 1 << bit;
          assert.equal(open(aead, key, 5, forged), undefined);
          assert.equal(open(aead, key, 6, sealed), undefined);
          assert.equal(open(aead, new Uint8Array(32).fill(8), 5, sealed), undefined);
          assert.deepEqual(open(aead, key, 5, sealed), plain);
        },
      ),
      { numRuns: 100 },
    );
  });

  test(`${aead.name} leaves what it may not touch: messages lie one behind the other`, () => {
    const key = new Uint8Array(32).fill(9);
    memory.bytes.set(key, KEY);
    for (const length of [...Array(100).keys(), 960, 1420, 1421]) {
      const size = length + AEAD.tag;
      fill(7);
      const before = memory.bytes.slice(0, OUTPUT);
      memory.bytes.set(key, KEY);
      aead.seal(memory.address + KEY, 1, memory, INPUT, memory, OUTPUT, length);
      assert.deepEqual(memory.bytes.subarray(INPUT, OUTPUT), before.subarray(INPUT), `sealing ${length}`);
      const sealed = memory.bytes.slice(OUTPUT, OUTPUT + size);
      fill(8);
      const after = memory.bytes.slice(OUTPUT + size);
      memory.bytes.set(key, KEY);
      memory.bytes.set(sealed, OUTPUT);
      assert.ok(aead.open(memory.address + KEY, 1, memory, OUTPUT, memory, INPUT, length));
      assert.deepEqual(memory.bytes.subarray(OUTPUT + size), after, `opening ${length}`);
      assert.deepEqual(memory.bytes.subarray(INPUT, INPUT + length), before.subarray(INPUT, INPUT + length));
    }
  });

  test(`${aead.name} works on after it forgot the last key`, () => {
    const key = new Uint8Array(32).fill(3);
    const before = seal(aead, key, 9, new Uint8Array(40));
    aead.forget();
    assert.deepEqual(seal(aead, key, 9, new Uint8Array(40)), before);
  });
}
