import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { available } from '../../tests/kit/implementations.js';
import { IMPLEMENTATIONS, sealWithNode } from './chacha20-poly1305.js';
import { FieldSealer } from './field-sealer.js';

const random = (length: number): Uint8Array => Uint8Array.from(randomBytes(length));

for (const implementation of available(IMPLEMENTATIONS)) {
  const { name } = implementation;
  const sealer = new FieldSealer(implementation);

  test(`${name} seals like node:crypto, and opens the result, for every length`, () => {
    for (const length of [0, 1, 12, 15, 16, 17, 32, 48, 127, 128, 129, 1000, 2048, 2049, 5000]) {
      for (const dataLength of [0, 1, 16, 32, 127, 128, 129, 2048, 2049]) {
        const [key, nonce] = [random(32), random(12)];
        const [plain, data] = [random(length), random(dataLength)];
        const [ours, theirs] = [new Uint8Array(length + 16), new Uint8Array(length + 16)];
        sealer.seal(key, nonce, plain, data, ours);
        sealWithNode(key, nonce, plain, data, theirs);
        assert.deepEqual(ours, theirs);
        const opened = new Uint8Array(length);
        assert.ok(sealer.open(key, nonce, ours, data, opened));
        assert.deepEqual(opened, plain);
      }
    }
  });

  test(`${name} rejects a field with any changed byte, and writes zeros`, () => {
    const key = random(32);
    const sealed = new Uint8Array(48);
    const parts = () => ({ nonce: new Uint8Array(12), sealed: sealed.slice(), data: new Uint8Array(32) });
    sealer.seal(key, new Uint8Array(12), random(32), new Uint8Array(32), sealed);
    for (const part of ['nonce', 'sealed', 'data'] as const) {
      for (let at = 0; at < parts()[part].length; at++) {
        const changed = parts();
        changed[part][at]! ^= 1 << (at % 8);
        const out = new Uint8Array(32).fill(1);
        assert.equal(sealer.open(key, changed.nonce, changed.sealed, changed.data, out), false);
        assert.deepEqual(out, new Uint8Array(32));
      }
    }
    const nothing = new Uint8Array(0);
    assert.equal(sealer.open(key, new Uint8Array(12), new Uint8Array(15), nothing, nothing), false);
    const { nonce, data } = parts();
    assert.ok(
      sealer.open(key, nonce, sealed, data, new Uint8Array(32)),
      'a forgery disturbed the next field',
    );
  });

  test(`${name} rejects a nonce that is not 12 bytes long`, () => {
    const [key, plain, data, sealed] = [random(32), random(4), random(4), random(20)];
    for (const length of [0, 11, 13, 24]) {
      assert.throws(() => sealer.seal(key, random(length), plain, data, new Uint8Array(20)), RangeError);
      assert.throws(() => sealer.open(key, random(length), sealed, data, new Uint8Array(4)), RangeError);
    }
  });

  test(`${name} seals and opens in place`, () => {
    const [key, nonce, data] = [random(32), random(12), random(32)];
    for (const length of [32, 3000]) {
      const plain = random(length);
      const bytes = new Uint8Array(length + 16);
      bytes.set(plain);
      sealer.seal(key, nonce, bytes.subarray(0, length), data, bytes);
      assert.ok(sealer.open(key, nonce, bytes, data, bytes));
      assert.deepEqual(bytes.slice(0, length), plain);
    }
  });
}
