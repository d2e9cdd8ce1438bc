import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import { secretBytes } from '../wireguard/crypto.js';
import { Cipher, LIMIT, readFirst, readSecond, split, writeFirst, writeSecond } from './noise-ik.js';

const crypto = new FakeCrypto(new SeededRandom(1));
const prologue = Uint8Array.of(1, 2, 3);

function handshake() {
  const [node, hub, ephemeral] = [crypto.generate(), crypto.generate(), crypto.generate()];
  const first = writeFirst(crypto, prologue, node, ephemeral, hub.publicKey, Uint8Array.of(7));
  assert.ok(first);
  return { node, hub, ephemeral, first };
}

test('both sides derive the same keys, with directions swapped', () => {
  const { node, hub, ephemeral, first } = handshake();
  const read = readFirst(crypto, prologue, hub, first.message);
  assert.ok(read);
  assert.deepEqual(read.payload, Uint8Array.of(7));
  assert.deepEqual(read.initiator.bytes, node.publicKey.bytes);
  const second = writeSecond(read, crypto.generate(), Uint8Array.of(8, 9));
  assert.ok(second);
  assert.deepEqual(readSecond(crypto, first.transcript, node, ephemeral, second), Uint8Array.of(8, 9));
  const [a, b] = [split(first.transcript, crypto, true), split(read.transcript, crypto, false)];
  const message = new Uint8Array(5 + 16);
  message.set([1, 2, 3, 4, 5]);
  assert.ok(a.sending.seal(message));
  assert.deepEqual(b.receiving.open(message), Uint8Array.of(1, 2, 3, 4, 5));
});

test('a changed bit in the first message, another prologue and another hub are detected', () => {
  const { hub, first } = handshake();
  for (let at = 0; at < first.message.length; at++) {
    if (at >= 2 && at < 32) continue; // the toy Diffie-Hellman uses two bytes of a key, the hash all of them
    const changed = first.message.slice();
    changed[at]! ^= 1;
    assert.equal(readFirst(crypto, prologue, hub, changed), undefined, `byte ${at}`);
  }
  for (let length = 0; length < first.message.length; length++)
    assert.equal(readFirst(crypto, prologue, hub, first.message.slice(0, length)), undefined);
  assert.equal(readFirst(crypto, Uint8Array.of(1, 2), hub, first.message), undefined);
  assert.equal(readFirst(crypto, prologue, crypto.generate(), first.message), undefined);
  assert.ok(readFirst(crypto, prologue, hub, first.message));
});

test('a low-order public key is refused', () => {
  const { hub } = handshake();
  const zeros = crypto.publicKey(new Uint8Array(32));
  assert.equal(writeFirst(crypto, prologue, hub, crypto.generate(), zeros, Uint8Array.of()), undefined);
  assert.equal(readFirst(crypto, prologue, hub, new Uint8Array(96)), undefined);
});

test('a key does not seal after its last counter or after erasure', () => {
  const cipher = new Cipher(crypto, secretBytes(), LIMIT - 1);
  assert.equal(cipher.seal(new Uint8Array(17)), true);
  assert.equal(cipher.seal(new Uint8Array(17)), false);
  assert.equal(cipher.open(new Uint8Array(17)), undefined);
  const key = secretBytes().fill(1);
  const erased = new Cipher(crypto, key);
  erased.erase();
  assert.deepEqual(key, secretBytes());
  assert.equal(erased.seal(new Uint8Array(17)), false);
});

test('counters above 32 bits give distinct nonces', () => {
  const sealed = [2 ** 32 - 1, 2 ** 32, 2 ** 40].map((counter) => {
    const room = new Uint8Array(17);
    new Cipher(crypto, secretBytes(), counter).seal(room);
    return room.join();
  });
  assert.equal(new Set(sealed).size, 3);
});
