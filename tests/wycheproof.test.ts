import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { IMPLEMENTATIONS } from '../src/crypto/chacha20-poly1305.js';
import { AEAD } from '../src/crypto/chacha20-poly1305-contract.js';
import { FieldSealer } from '../src/crypto/field-sealer.js';
import { NodeCrypto } from '../src/crypto/node-crypto.js';
import { X25519_IMPLEMENTATIONS } from '../src/crypto/x25519.js';
import { LENGTH } from '../src/wireguard/crypto.js';
import { available } from './kit/implementations.js';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** All vectors of a Wycheproof file. Another number than `count` is an error. */
function load<T>(name: string, count: number): T[] {
  const text = readFileSync(`tests/vectors/wycheproof/${name}_test.json`, 'utf8');
  const { testGroups } = JSON.parse(text) as { testGroups: readonly { tests: readonly T[] }[] };
  const vectors = testGroups.flatMap(({ tests }) => tests);
  assert.equal(vectors.length, count, `${name} has ${vectors.length} vectors`);
  return vectors;
}

interface AeadVector {
  readonly tcId: number;
  readonly key: string;
  readonly iv: string;
  readonly aad: string;
  readonly msg: string;
  readonly ct: string;
  readonly tag: string;
  readonly result: 'valid' | 'invalid';
}

interface AeadFunctions {
  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void;
  open(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean;
}

function runAead({ seal, open }: AeadFunctions, nonceLength: number, vectors: readonly AeadVector[]): void {
  for (const { tcId, result, ...vector } of vectors) {
    const [key, nonce, data] = [hex(vector.key), hex(vector.iv), hex(vector.aad)];
    const [plaintext, sealed] = [hex(vector.msg), hex(vector.ct + vector.tag)];
    const out = new Uint8Array(sealed.length);
    const back = new Uint8Array(plaintext.length);
    if (nonce.length !== nonceLength) {
      assert.equal(result, 'invalid');
      assert.throws(() => seal(key, nonce, plaintext, data, out), RangeError, `${tcId}: sealed`);
      assert.throws(() => open(key, nonce, sealed, data, back), RangeError, `${tcId}: opened`);
      continue;
    }
    const isValid = result === 'valid';
    seal(key, nonce, plaintext, data, out);
    assert.equal(toHex(out) === toHex(sealed), isValid, `${tcId}: sealed`);
    assert.equal(open(key, nonce, sealed, data, back), isValid, `${tcId}: opened`);
    if (isValid) assert.deepEqual(back, plaintext, `${tcId}: opened`);
  }
}

const chacha20Poly1305 = load<AeadVector>('chacha20_poly1305', 325);
for (const implementation of available(IMPLEMENTATIONS)) {
  test(`ChaCha20-Poly1305 of ${implementation.name} passes all 325 vectors`, () => {
    const sealer = new FieldSealer(implementation);
    runAead(
      { seal: (...args) => sealer.seal(...args), open: (...args) => sealer.open(...args) },
      AEAD.nonce,
      chacha20Poly1305,
    );
  });
}

test('XChaCha20-Poly1305 passes all 315 vectors', () => {
  const crypto = new NodeCrypto();
  const vectors = load<AeadVector>('xchacha20_poly1305', 315);
  runAead(
    { seal: (...args) => crypto.xseal(...args), open: (...args) => crypto.xopen(...args) },
    LENGTH.xnonce,
    vectors,
  );
});

interface X25519Vector {
  readonly tcId: number;
  readonly public: string;
  readonly private: string;
  readonly shared: string;
}

const x25519Vectors = load<X25519Vector>('x25519', 518);
for (const x25519 of available(X25519_IMPLEMENTATIONS)) {
  test(`X25519 of ${x25519.name} passes all 518 vectors, and refuses an all-zero shared secret`, () => {
    for (const { tcId, shared, ...vector } of x25519Vectors) {
      const secret = new Uint8Array(32).fill(1);
      const key = x25519.load(hex(vector.private), new Uint8Array(32));
      assert.equal(x25519.derive(key, hex(vector.public), secret), /[^0]/.test(shared), `${tcId}`);
      assert.equal(toHex(secret), shared, `${tcId}`);
      key.destroy();
    }
  });
}
