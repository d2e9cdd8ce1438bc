import { secretBytes } from '../wireguard/crypto.js';

/**
 * BLAKE2s, RFC 7693, and HMAC and HKDF with it, as [W] 5.4 uses them.
 *
 * OpenSSL's through node:crypto would do, but for two things: it knows no keys (for `Mac`), and its contexts,
 * which hold keys, are cleared when the garbage collector finds the time. Here all state is two small arrays,
 * zeroed after use. That it is also faster comes from handshakes hashing dozens of very short inputs.
 */

const BLOCK = 64;
const LENGTH = 32;

/** RFC 7693 §2.6 */
const IV = Int32Array.of(
  0x6a09e667,
  0xbb67ae85,
  0x3c6ef372,
  0xa54ff53a,
  0x510e527f,
  0x9b05688c,
  0x1f83d9ab,
  0x5be0cd19,
);

/** RFC 7693 §2.7: which message words each round takes, one row per round. */
const SIGMA = Uint8Array.of(
  ...[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  ...[14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  ...[11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  ...[7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  ...[9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  ...[2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  ...[12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  ...[13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  ...[6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  ...[10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
);
const ROUNDS = 10;

/** The state of all hashes: they run one at a time. On buffers of their own, as `secretBytes` explains. */
const state = new Int32Array(new ArrayBuffer(32));
const block = secretBytes(BLOCK);
const blockWords = new Int32Array(block.buffer);
const blockView = new DataView(block.buffer);
const m = new Int32Array(new ArrayBuffer(64));
let filled = 0;
let count = 0; // bytes compressed; far below 2^32 here

/** RFC 7693 §3.3 to begin with: the parameter block has the lengths of the output and of the key. */
function begin(length: number, key?: Uint8Array): void {
  for (let i = 0; i < 8; i++) state[i] = IV[i]!;
  state[0]! ^= 0x01010000 ^ ((key?.length ?? 0) << 8) ^ length;
  filled = 0;
  count = 0;
  if (key && key.length > 0) {
    zero(blockWords);
    for (let i = 0; i < key.length; i++) block[i] = key[i]!;
    filled = BLOCK;
  }
}

function update(input: Uint8Array): void {
  for (let at = 0; at < input.length; ) {
    // A full block waits until more comes: the last one is compressed differently.
    if (filled === BLOCK) compress(false);
    const end = Math.min(input.length, at + BLOCK - filled);
    while (at < end) block[filled++] = input[at++]!;
  }
}

function end(out: Uint8Array, length: number): void {
  for (let i = filled; i < BLOCK; i++) block[i] = 0;
  compress(true);
  for (let i = 0; i < length; i++) out[i] = state[i >> 2]! >>> ((i & 3) * 8);
}

/**
 * RFC 7693 §3.2: the compression function F. The working vector is sixteen variables and the mixing function G,
 * §3.1, written out eight times: as an array and a function it took twice the time.
 */
function compress(isLast: boolean): void {
  count += filled;
  filled = 0;
  for (let i = 0; i < 16; i++) m[i] = blockView.getInt32(i * 4, true);
  let v0 = state[0]!;
  let v1 = state[1]!;
  let v2 = state[2]!;
  let v3 = state[3]!;
  let v4 = state[4]!;
  let v5 = state[5]!;
  let v6 = state[6]!;
  let v7 = state[7]!;
  let v8 = IV[0]!;
  let v9 = IV[1]!;
  let v10 = IV[2]!;
  let v11 = IV[3]!;
  let v12 = IV[4]! ^ count;
  let v13 = IV[5]!;
  let v14 = isLast ? ~IV[6]! : IV[6]!;
  let v15 = IV[7]!;
  for (let at = 0; at < ROUNDS * 16; at += 16) {
    // columns
    v0 = (v0 + v4 + m[SIGMA[at]!]!) | 0;
    v12 = rotate(v12 ^ v0, 16);
    v8 = (v8 + v12) | 0;
    v4 = rotate(v4 ^ v8, 12);
    v0 = (v0 + v4 + m[SIGMA[at + 1]!]!) | 0;
    v12 = rotate(v12 ^ v0, 8);
    v8 = (v8 + v12) | 0;
    v4 = rotate(v4 ^ v8, 7);
    v1 = (v1 + v5 + m[SIGMA[at + 2]!]!) | 0;
    v13 = rotate(v13 ^ v1, 16);
    v9 = (v9 + v13) | 0;
    v5 = rotate(v5 ^ v9, 12);
    v1 = (v1 + v5 + m[SIGMA[at + 3]!]!) | 0;
    v13 = rotate(v13 ^ v1, 8);
    v9 = (v9 + v13) | 0;
    v5 = rotate(v5 ^ v9, 7);
    v2 = (v2 + v6 + m[SIGMA[at + 4]!]!) | 0;
    v14 = rotate(v14 ^ v2, 16);
    v10 = (v10 + v14) | 0;
    v6 = rotate(v6 ^ v10, 12);
    v2 = (v2 + v6 + m[SIGMA[at + 5]!]!) | 0;
    v14 = rotate(v14 ^ v2, 8);
    v10 = (v10 + v14) | 0;
    v6 = rotate(v6 ^ v10, 7);
    v3 = (v3 + v7 + m[SIGMA[at + 6]!]!) | 0;
    v15 = rotate(v15 ^ v3, 16);
    v11 = (v11 + v15) | 0;
    v7 = rotate(v7 ^ v11, 12);
    v3 = (v3 + v7 + m[SIGMA[at + 7]!]!) | 0;
    v15 = rotate(v15 ^ v3, 8);
    v11 = (v11 + v15) | 0;
    v7 = rotate(v7 ^ v11, 7);
    // diagonals
    v0 = (v0 + v5 + m[SIGMA[at + 8]!]!) | 0;
    v15 = rotate(v15 ^ v0, 16);
    v10 = (v10 + v15) | 0;
    v5 = rotate(v5 ^ v10, 12);
    v0 = (v0 + v5 + m[SIGMA[at + 9]!]!) | 0;
    v15 = rotate(v15 ^ v0, 8);
    v10 = (v10 + v15) | 0;
    v5 = rotate(v5 ^ v10, 7);
    v1 = (v1 + v6 + m[SIGMA[at + 10]!]!) | 0;
    v12 = rotate(v12 ^ v1, 16);
    v11 = (v11 + v12) | 0;
    v6 = rotate(v6 ^ v11, 12);
    v1 = (v1 + v6 + m[SIGMA[at + 11]!]!) | 0;
    v12 = rotate(v12 ^ v1, 8);
    v11 = (v11 + v12) | 0;
    v6 = rotate(v6 ^ v11, 7);
    v2 = (v2 + v7 + m[SIGMA[at + 12]!]!) | 0;
    v13 = rotate(v13 ^ v2, 16);
    v8 = (v8 + v13) | 0;
    v7 = rotate(v7 ^ v8, 12);
    v2 = (v2 + v7 + m[SIGMA[at + 13]!]!) | 0;
    v13 = rotate(v13 ^ v2, 8);
    v8 = (v8 + v13) | 0;
    v7 = rotate(v7 ^ v8, 7);
    v3 = (v3 + v4 + m[SIGMA[at + 14]!]!) | 0;
    v14 = rotate(v14 ^ v3, 16);
    v9 = (v9 + v14) | 0;
    v4 = rotate(v4 ^ v9, 12);
    v3 = (v3 + v4 + m[SIGMA[at + 15]!]!) | 0;
    v14 = rotate(v14 ^ v3, 8);
    v9 = (v9 + v14) | 0;
    v4 = rotate(v4 ^ v9, 7);
  }
  state[0]! ^= v0 ^ v8;
  state[1]! ^= v1 ^ v9;
  state[2]! ^= v2 ^ v10;
  state[3]! ^= v3 ^ v11;
  state[4]! ^= v4 ^ v12;
  state[5]! ^= v5 ^ v13;
  state[6]! ^= v6 ^ v14;
  state[7]! ^= v7 ^ v15;
}

/** To the right. */
const rotate = (word: number, bits: number): number => (word >>> bits) | (word << (32 - bits));

/** Leaves nothing of keys behind. */
function wipe(): void {
  zero(state);
  zero(m);
  zero(blockWords);
}

/** `fill` is a call out of JavaScript, which for arrays this small takes longer than all else. */
function zero(words: Int32Array): void {
  for (let i = 0; i < words.length; i++) words[i] = 0;
}

/**
 * BLAKE2s of the inputs one after the other.
 *
 * @param length of the output, 1 to 32 bytes
 * @param key up to 32 bytes, if any
 * @param out may be one of the inputs
 */
export function blake2s(
  inputs: readonly Uint8Array[],
  out: Uint8Array,
  length = LENGTH,
  key?: Uint8Array,
): void {
  begin(length, key);
  for (const input of inputs) update(input);
  end(out, length);
  wipe();
}

/** HMAC's padded key, RFC 2104, as the first block of a hash. */
function beginPadded(key: Uint8Array, pad: number): void {
  begin(LENGTH);
  for (let i = 0; i < BLOCK; i++) block[i] = (i < key.length ? key[i]! : 0) ^ pad;
  filled = BLOCK;
}
const INNER = 0x36;
const OUTER = 0x5c;

function hmac(key: Uint8Array, input: Uint8Array, out: Uint8Array): void {
  beginPadded(key, INNER);
  update(input);
  end(digest, LENGTH);
  beginPadded(key, OUTER);
  update(digest);
  end(out, LENGTH);
}

/** Hashes that have taken in the padded root key: all outputs of `kdf` begin with them. */
const inner = new Int32Array(new ArrayBuffer(32));
const outer = new Int32Array(new ArrayBuffer(32));

function takeRoot(into: Int32Array, pad: number): void {
  beginPadded(root, pad);
  compress(false);
  for (let i = 0; i < 8; i++) into[i] = state[i]!;
}

function resume(from: Int32Array): void {
  for (let i = 0; i < 8; i++) state[i] = from[i]!;
  filled = 0;
  count = BLOCK;
}

/** The next output: HMAC(root, last || counter). */
function expand(last: Uint8Array, counter: Uint8Array, out: Uint8Array): void {
  resume(inner);
  update(last);
  update(counter);
  end(digest, LENGTH);
  resume(outer);
  update(digest);
  end(out, LENGTH);
}

/** HKDF, RFC 5869, with `key` for a salt: [W] 5.4's Kdf of as many outputs as there are. `out1` may be `key`. */
export function kdf(
  key: Uint8Array,
  input: Uint8Array,
  out1: Uint8Array,
  out2?: Uint8Array,
  out3?: Uint8Array,
): void {
  hmac(key, input, root);
  takeRoot(inner, INNER);
  takeRoot(outer, OUTER);
  expand(NOTHING, COUNTER[0], out1);
  if (out2) expand(out1, COUNTER[1], out2);
  if (out2 && out3) expand(out2, COUNTER[2], out3);
  wipe();
  zero(inner);
  zero(outer);
  zero(digestWords);
  zero(rootWords);
}

const digest = secretBytes(LENGTH);
const digestWords = new Int32Array(digest.buffer);
const root = secretBytes(LENGTH);
const rootWords = new Int32Array(root.buffer);
const NOTHING = new Uint8Array(0);
const COUNTER = [Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3)] as const;
