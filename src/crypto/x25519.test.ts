import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { available } from '../../tests/kit/implementations.js';
import { loadX25519, X25519_IMPLEMENTATIONS } from './x25519.js';

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const working = available(X25519_IMPLEMENTATIONS);

test('the first working implementation is used: OpenSSL by FFI, with node:crypto as the last resort', () => {
  assert.ok(working.length >= 2, 'only one implementation works here');
  assert.equal(loadX25519().name, working[0]!.name);
  assert.match(working[0]!.name, /^OpenSSL EVP/);
  assert.equal(working.at(-1)!.name, 'node:crypto');
});

for (const x25519 of working) {
  const pair = (bytes = Uint8Array.from(randomBytes(32))) => {
    const publicKey = new Uint8Array(32);
    return { key: x25519.load(bytes, publicKey), publicKey };
  };

  test(`${x25519.name}: RFC 7748 §5.2, both scalar multiplications`, () => {
    const secret = new Uint8Array(32);
    for (const { scalar, point, product } of MULTIPLICATIONS) {
      assert.ok(x25519.derive(pair(hex(scalar)).key, hex(point), secret));
      assert.equal(text(secret), product);
    }
  });

  test(`${x25519.name}: both sides compute the same secret, with generated and with loaded keys`, () => {
    for (let i = 0; i < 20; i++) {
      const ours = pair();
      const publicKey = new Uint8Array(32);
      const key = x25519.generate(publicKey);
      const [a, b] = [new Uint8Array(32), new Uint8Array(32)];
      assert.ok(x25519.derive(ours.key, publicKey, a));
      assert.ok(x25519.derive(key, ours.publicKey, b));
      assert.deepEqual(a, b);
    }
  });

  test(`${x25519.name}: agrees with node:crypto`, () => {
    const reference = working.at(-1)!;
    for (let i = 0; i < 20; i++) {
      const bytes = Uint8Array.from(randomBytes(32));
      const point = Uint8Array.from(randomBytes(32));
      const [ours, theirs] = [new Uint8Array(32), new Uint8Array(32)];
      const [a, b] = [new Uint8Array(32), new Uint8Array(32)];
      assert.ok(x25519.derive(x25519.load(bytes, ours), point, a));
      assert.ok(reference.derive(reference.load(bytes, theirs), point, b));
      assert.deepEqual([ours, a], [theirs, b]);
    }
  });

  test(`${x25519.name}: rejects a low-order public key, and still works afterwards`, () => {
    const { key, publicKey } = pair();
    for (const point of LOW_ORDER) {
      const secret = new Uint8Array(32).fill(1);
      assert.equal(x25519.derive(key, hex(point), secret), false);
      assert.deepEqual(secret, new Uint8Array(32));
    }
    assert.ok(x25519.derive(key, publicKey, new Uint8Array(32)));
  });

  test(`${x25519.name}: rejects a destroyed key, and a key may be destroyed twice`, () => {
    const { key, publicKey } = pair();
    key.destroy();
    key.destroy();
    assert.throws(() => x25519.derive(key, publicKey, new Uint8Array(32)), /was destroyed/);
  });
}

/** RFC 7748 §5.2. */
const MULTIPLICATIONS = [
  {
    scalar: 'a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4',
    point: 'e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c',
    product: 'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
  },
  {
    scalar: '4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d',
    point: 'e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493',
    product: '95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957',
  },
];

/** The points of order 1, 2, 4 and 8 in their canonical form, https://cr.yp.to/ecdh.html#validate. */
const LOW_ORDER = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
];
