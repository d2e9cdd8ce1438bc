import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { available } from '../../tests/kit/implementations.js';
import { allocate } from '../linux/ffi/memory.js';
import { Aead, loadAead } from './aead.js';
import { IMPLEMENTATIONS, loadChaCha20Poly1305, openWithNode, sealWithNode } from './chacha20-poly1305.js';
import { AEAD, type ChaCha20Poly1305, PARAMETERS } from './chacha20-poly1305-contract.js';

const KEY = 0;
const INPUT = 128;
const OUTPUT = 4096 + 3; // messages are not aligned
const memory = allocate(16_384);
const NOTHING = new Uint8Array(0);

interface Message {
  readonly key: Uint8Array;
  readonly nonce: Uint8Array;
  readonly data: Uint8Array;
}

function prepare(implementation: ChaCha20Poly1305, { key, nonce, data }: Message): void {
  memory.bytes.set(key, KEY);
  implementation.parameters.bytes.set(nonce, PARAMETERS.nonce);
  implementation.parameters.bytes.set(data, PARAMETERS.data);
}

function seal(implementation: ChaCha20Poly1305, message: Message, plain: Uint8Array): Uint8Array {
  prepare(implementation, message);
  memory.bytes.set(plain, INPUT);
  const key = memory.address + KEY;
  implementation.seal(key, message.data.length, memory, INPUT, memory, OUTPUT, plain.length);
  return memory.bytes.slice(OUTPUT, OUTPUT + plain.length + AEAD.tag);
}

function open(
  implementation: ChaCha20Poly1305,
  message: Message,
  sealed: Uint8Array,
): Uint8Array | undefined {
  prepare(implementation, message);
  memory.bytes.set(sealed, OUTPUT);
  const key = memory.address + KEY;
  const length = sealed.length - AEAD.tag;
  const isRight = implementation.open(key, message.data.length, memory, OUTPUT, memory, INPUT, length);
  return isRight ? memory.bytes.slice(INPUT, INPUT + length) : undefined;
}

/** Fills the memory with a pattern. */
const fill = (seed: number): void => {
  for (let i = 0; i < memory.bytes.length; i++) memory.bytes[i] = i * seed + (i >> 8);
};

const working = available(IMPLEMENTATIONS);

test('the first working implementation is used: OpenSSL by FFI, with node:crypto as the last resort', () => {
  assert.ok(working.length >= 2, 'only one implementation works here');
  assert.equal(loadChaCha20Poly1305().name, working[0]!.name);
  assert.match(working[0]!.name, /^OpenSSL/);
  assert.equal(working.at(-1)!.name, 'node:crypto');
  assert.equal(loadChaCha20Poly1305(false).name, 'node:crypto');
});

test('the transport nonce is 32 zero bits and the little-endian counter, [W] 5.4.6', () => {
  const aead = loadAead();
  const key = new Uint8Array(32).fill(7);
  fc.assert(
    fc.property(fc.oneof(fc.nat(), fc.bigInt(0n, 2n ** 53n - 1n).map(Number)), (counter) => {
      const nonce = Buffer.alloc(AEAD.nonce);
      nonce.writeBigUInt64LE(BigInt(counter), 4);
      const expected = new Uint8Array(20 + AEAD.tag);
      sealWithNode(key, nonce, new Uint8Array(20), NOTHING, expected);
      memory.bytes.set(key, KEY);
      memory.bytes.fill(0, INPUT, INPUT + 20);
      aead.seal(memory.address + KEY, counter, memory, INPUT, memory, OUTPUT, 20);
      assert.deepEqual(memory.bytes.slice(OUTPUT, OUTPUT + expected.length), expected);
      assert.ok(aead.open(memory.address + KEY, counter, memory, OUTPUT, memory, INPUT, 20));
    }),
  );
});

for (const implementation of working) {
  const { name } = implementation;

  test(`${name} agrees with node:crypto on random keys, nonces, data and lengths`, () => {
    const bytes = (minLength: number, maxLength = minLength) => fc.uint8Array({ minLength, maxLength });
    fc.assert(
      fc.property(bytes(32), bytes(12), bytes(0, 100), bytes(0, 1500), (key, nonce, data, plain) => {
        const message = { key, nonce, data };
        const sealed = seal(implementation, message, plain);
        const opened = new Uint8Array(plain.length);
        assert.ok(openWithNode(key, nonce, sealed, data, opened));
        assert.deepEqual(opened, plain);
        assert.deepEqual(open(implementation, message, sealed), plain);
      }),
      { numRuns: 200 },
    );
  });

  test(`${name} rejects a changed ciphertext, tag, nonce, key or data`, () => {
    const right = { key: new Uint8Array(32).fill(7), nonce: new Uint8Array(12), data: Uint8Array.of(1, 2) };
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 100 });
    fc.assert(
      fc.property(bytes, fc.nat(), fc.nat(7), (plain, where, bit) => {
        const sealed = seal(implementation, right, plain);
        const changed = (from: Uint8Array): Uint8Array =>
          from.map((byte, i) => (i === where % from.length ? byte ^ (1 << bit) : byte));
        assert.equal(open(implementation, right, changed(sealed)), undefined);
        for (const part of ['key', 'nonce', 'data'] as const) {
          assert.equal(open(implementation, { ...right, [part]: changed(right[part]) }, sealed), undefined);
        }
        assert.equal(open(implementation, { ...right, data: NOTHING }, sealed), undefined);
        assert.deepEqual(open(implementation, right, sealed), plain);
      }),
      { numRuns: 100 },
    );
  });

  test(`${name} does not write beyond its output, because messages are adjacent`, () => {
    const aead = new Aead(implementation);
    const key = new Uint8Array(32).fill(9);
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

  test(`${name} still works after wiping the last key`, () => {
    const message = { key: new Uint8Array(32).fill(3), nonce: new Uint8Array(12).fill(4), data: NOTHING };
    const before = seal(implementation, message, new Uint8Array(40));
    implementation.forget();
    assert.deepEqual(seal(implementation, message, new Uint8Array(40)), before);
  });
}
