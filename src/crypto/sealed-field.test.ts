import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { FIELD_SEALERS, loadFieldSealer } from './sealed-field.js';

/** What works on this machine; that the first does is what the speed of handshakes depends on. */
const working = FIELD_SEALERS.flatMap((make) => {
  try {
    return [make()];
  } catch {
    return [];
  }
});
const reference = working.at(-1)!;
const random = (length: number): Uint8Array => Uint8Array.from(randomBytes(length));

test('there is a fast implementation and a slow one, and the fast one is taken', () => {
  assert.ok(working.length >= 2, 'only one implementation works here: nothing to compare');
  assert.equal(loadFieldSealer().name, working[0]!.name);
  assert.match(working[0]!.name, /^OpenSSL EVP/);
  assert.equal(reference.name, 'node:crypto');
});

for (const sealer of working) {
  test(`${sealer.name}: seals what node:crypto seals, and opens it, whatever the lengths`, () => {
    for (const length of [0, 1, 12, 15, 16, 17, 32, 48, 255, 256, 257, 1000]) {
      for (const dataLength of [0, 1, 16, 32, 256, 300]) {
        const [key, nonce] = [random(32), random(12)];
        const [plain, data] = [random(length), random(dataLength)];
        const [ours, theirs] = [new Uint8Array(length + 16), new Uint8Array(length + 16)];
        sealer.seal(key, nonce, plain, data, ours);
        reference.seal(key, nonce, plain, data, theirs);
        assert.deepEqual(ours, theirs);
        const opened = new Uint8Array(length);
        assert.ok(sealer.open(key, nonce, ours, data, opened));
        assert.deepEqual(opened, plain);
      }
    }
  });

  test(`${sealer.name}: refuses what was changed anywhere, and writes zeros`, () => {
    const key = random(32);
    const parts = () => ({ nonce: new Uint8Array(12), sealed: sealed.slice(), data: new Uint8Array(32) });
    const sealed = new Uint8Array(48);
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
    assert.equal(
      sealer.open(key, new Uint8Array(12), new Uint8Array(15), new Uint8Array(0), new Uint8Array(0)),
      false,
    );
    assert.ok(
      sealer.open(key, new Uint8Array(12), sealed, new Uint8Array(32), new Uint8Array(32)),
      'a forgery disturbed the next one',
    );
  });

  test(`${sealer.name}: may write over what it reads`, () => {
    const [key, nonce, data] = [random(32), random(12), random(32)];
    const plain = random(32);
    const bytes = new Uint8Array(48);
    bytes.set(plain);
    sealer.seal(key, nonce, bytes.subarray(0, 32), data, bytes);
    assert.ok(sealer.open(key, nonce, bytes, data, bytes));
    assert.deepEqual(bytes.slice(0, 32), plain);
  });
}
