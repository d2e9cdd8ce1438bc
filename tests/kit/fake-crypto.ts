import type { Crypto, PrivateKey, PublicKey } from '../../src/wireguard/crypto.js';
import type { SeededRandom } from './random.js';

const P = 65521; // the largest prime below 2^16, so that products are exact
const GENERATOR = 17;

interface FakePrivateKey extends PrivateKey {
  readonly exponent: number;
}

/**
 * WireGuard's cryptography without its strength, so that thousands of seeded runs take seconds: a toy
 * Diffie-Hellman, a weak hash, and an AEAD made of that hash. It still detects wrong keys, changed bytes and wrong
 * counters, which is all these tests need.
 */
export class FakeCrypto implements Crypto {
  readonly #random: SeededRandom;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  publicKey(bytes: Uint8Array): PublicKey {
    return { kind: 'public', bytes: Uint8Array.from(bytes) };
  }

  privateKey(bytes: Uint8Array): PrivateKey {
    return this.#fromExponent(1 + (((bytes[0]! << 8) | bytes[1]!) % (P - 2)));
  }

  generate(): PrivateKey {
    return this.#fromExponent(1 + this.#random.below(P - 2));
  }

  dh(privateKey: PrivateKey, publicKey: PublicKey, out: Uint8Array): boolean {
    const base = (publicKey.bytes[0]! << 8) | publicKey.bytes[1]!;
    const secret = power(base, (privateKey as FakePrivateKey).exponent);
    out.fill(0);
    if (secret === 0) return false;
    digest([Uint8Array.of(secret >> 8, secret)], out);
    return true;
  }

  hash(a: Uint8Array, b: Uint8Array, out: Uint8Array): void {
    digest([a, b], out);
  }

  mac(key: Uint8Array, input: Uint8Array, out: Uint8Array): void {
    digest([key, input], out);
  }

  kdf(key: Uint8Array, input: Uint8Array, out1: Uint8Array, out2?: Uint8Array, out3?: Uint8Array): void {
    const root = new Uint8Array(32);
    digest([key, input], root);
    [out1, out2, out3].forEach((out, i) => {
      if (out) digest([root, Uint8Array.of(i + 1)], out);
    });
  }

  seal(key: Uint8Array, counter: number, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    this.xseal(key, counterBytes(counter), plaintext, data, out);
  }

  open(key: Uint8Array, counter: number, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    return this.xopen(key, counterBytes(counter), sealed, data, out);
  }

  xseal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    stream(key, nonce, plaintext, out);
    digest([key, nonce, data, out.subarray(0, plaintext.length)], out.subarray(plaintext.length));
  }

  xopen(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    const length = sealed.length - 16;
    const tag = new Uint8Array(16);
    digest([key, nonce, data, sealed.subarray(0, length)], tag);
    if (!this.equal(tag, sealed.subarray(length))) return false;
    stream(key, nonce, sealed.subarray(0, length), out);
    return true;
  }

  random(out: Uint8Array): void {
    this.#random.fill(out);
  }

  equal(a: Uint8Array, b: Uint8Array): boolean {
    if (a.length !== b.length) return false;
    for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
    return true;
  }

  #fromExponent(exponent: number): FakePrivateKey {
    const value = power(GENERATOR, exponent);
    const bytes = new Uint8Array(32);
    bytes.set([value >> 8, value & 0xff]);
    return { kind: 'private', publicKey: { kind: 'public', bytes }, exponent, destroy: () => {} };
  }
}

function power(base: number, exponent: number): number {
  let result = 1;
  let square = base % P;
  for (let rest = exponent; rest > 0; rest >>= 1) {
    if (rest & 1) result = (result * square) % P;
    square = (square * square) % P;
  }
  return result;
}

function digest(parts: readonly Uint8Array[], out: Uint8Array): void {
  expand(hash(parts), out);
}

/** A hash like FNV-1a over all parts, four bytes at a time. Mixes in each length, to keep the parts distinct. */
function hash(parts: readonly Uint8Array[]): number {
  let state = 0x811c9dc5;
  for (const part of parts) {
    const { length } = part;
    let i = 0;
    for (; i + 4 <= length; i += 4)
      state = mix(state, part[i]! | (part[i + 1]! << 8) | (part[i + 2]! << 16) | (part[i + 3]! << 24));
    for (; i < length; i++) state = mix(state, part[i]!);
    state = mix(state, length);
  }
  return state;
}

/** Mixes a word into the state. The shift lets the upper bits affect the lower ones, which a product does not. */
function mix(state: number, word: number): number {
  const product = Math.imul(state ^ word, 0x01000193);
  return product ^ (product >>> 15);
}

function stream(key: Uint8Array, nonce: Uint8Array, input: Uint8Array, out: Uint8Array): void {
  let state = hash([key, nonce]) | 1;
  for (let i = 0; i < input.length; i++) {
    if (i % 4 === 0) state = next(state);
    out[i] = input[i]! ^ (state >>> (8 * (i % 4)));
  }
}

function expand(seed: number, out: Uint8Array): void {
  let state = seed | 1;
  for (let i = 0; i < out.length; i++) {
    if (i % 4 === 0) state = next(state);
    out[i] = state >>> (8 * (i % 4));
  }
}

/** Xorshift, Marsaglia 2003. */
function next(state: number): number {
  const a = state ^ (state << 13);
  const b = a ^ (a >>> 17);
  return b ^ (b << 5);
}

const counterBytes = (counter: number): Uint8Array =>
  Uint8Array.of(counter, counter >>> 8, counter >>> 16, counter >>> 24, counter / 2 ** 32);
