import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { loadX25519, type X25519, X25519_IMPLEMENTATIONS } from './x25519.js';

/** What works on this machine. */
const working = X25519_IMPLEMENTATIONS.flatMap((make) => {
  try {
    return [make()];
  } catch {
    return [];
  }
});
const reference = working.at(-1)!;

const key32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

function derive(x25519: X25519, privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array | undefined {
  const key = x25519.importKey(privateKey);
  const out = new Uint8Array(32).fill(0xff);
  const usable = key.derive(publicKey, out);
  key.destroy();
  if (!usable) assert.deepEqual(out, new Uint8Array(32));
  return usable ? out : undefined;
}

test('there is one that clears keys at once, and one for every node, and the former is taken', () => {
  assert.ok(working.length >= 2, 'only one implementation works here: nothing to compare');
  assert.equal(loadX25519().name, working[0]!.name);
  assert.match(working[0]!.name, /^OpenSSL EVP/);
  assert.equal(reference.name, 'node:crypto');
});

for (const x25519 of working) {
  test(`${x25519.name} agrees with node:crypto on random keys`, () => {
    fc.assert(
      fc.property(key32, key32, (mine, theirs) => {
        const key = x25519.importKey(mine);
        assert.deepEqual(key.publicKey, reference.importKey(mine).publicKey);
        key.destroy();
        assert.deepEqual(derive(x25519, mine, theirs), derive(reference, mine, theirs));
      }),
      { numRuns: 50 },
    );
  });

  test(`${x25519.name} makes keys that agree with each other`, () => {
    const [a, b] = [x25519.generate(), x25519.generate()];
    const [one, other] = [new Uint8Array(32), new Uint8Array(32)];
    assert.ok(a.derive(b.publicKey, one) && b.derive(a.publicKey, other));
    assert.deepEqual(one, other);
    assert.notDeepEqual(a.publicKey, b.publicKey);
    a.destroy();
    b.destroy();
    assert.throws(() => a.derive(b.publicKey, one), /destroyed/);
    a.destroy(); // a second time changes nothing
  });

  test(`${x25519.name} refuses public keys of low order, RFC 7748 §6.1, and is good for others after it`, () => {
    const key = x25519.generate();
    const other = x25519.generate();
    const out = new Uint8Array(32);
    const one = Uint8Array.of(1, ...new Uint8Array(31));
    const p = new Uint8Array(32).fill(0xff).fill(0xed, 0, 1).fill(0x7f, 31); // 2^255 - 19, which is 0
    for (const low of [new Uint8Array(32), one, p]) {
      assert.equal(key.derive(low, out.fill(0xff)), false);
      assert.deepEqual(out, new Uint8Array(32));
    }
    assert.ok(key.derive(other.publicKey, out));
    key.destroy();
    other.destroy();
  });
}
