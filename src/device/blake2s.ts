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

/** The state of all hashes: they run one at a time. */
const state = new Int32Array(8);
const block = new Uint8Array(BLOCK);
const blockView = new DataView(block.buffer);
const m = new Int32Array(16);
const v = new Int32Array(16);
let filled = 0;
let count = 0; // bytes compressed; far below 2^32 here

/** RFC 7693 §3.3 to begin with: the parameter block has the lengths of the output and of the key. */
function begin(length: number, key?: Uint8Array): void {
  state.set(IV);
  state[0]! ^= 0x01010000 ^ ((key?.length ?? 0) << 8) ^ length;
  filled = 0;
  count = 0;
  if (key && key.length > 0) {
    block.fill(0);
    block.set(key);
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
  block.fill(0, filled);
  compress(true);
  for (let i = 0; i < length; i++) out[i] = state[i >> 2]! >>> ((i & 3) * 8);
}

/** RFC 7693 §3.2: the compression function F. */
function compress(isLast: boolean): void {
  count += filled;
  filled = 0;
  for (let i = 0; i < 16; i++) m[i] = blockView.getInt32(i * 4, true);
  for (let i = 0; i < 8; i++) {
    v[i] = state[i]!;
    v[i + 8] = IV[i]!;
  }
  v[12]! ^= count;
  if (isLast) v[14] = ~v[14]!;
  for (let at = 0; at < ROUNDS * 16; at += 16) {
    mix(0, 4, 8, 12, m[SIGMA[at]!]!, m[SIGMA[at + 1]!]!);
    mix(1, 5, 9, 13, m[SIGMA[at + 2]!]!, m[SIGMA[at + 3]!]!);
    mix(2, 6, 10, 14, m[SIGMA[at + 4]!]!, m[SIGMA[at + 5]!]!);
    mix(3, 7, 11, 15, m[SIGMA[at + 6]!]!, m[SIGMA[at + 7]!]!);
    mix(0, 5, 10, 15, m[SIGMA[at + 8]!]!, m[SIGMA[at + 9]!]!);
    mix(1, 6, 11, 12, m[SIGMA[at + 10]!]!, m[SIGMA[at + 11]!]!);
    mix(2, 7, 8, 13, m[SIGMA[at + 12]!]!, m[SIGMA[at + 13]!]!);
    mix(3, 4, 9, 14, m[SIGMA[at + 14]!]!, m[SIGMA[at + 15]!]!);
  }
  for (let i = 0; i < 8; i++) state[i]! ^= v[i]! ^ v[i + 8]!;
}

/** RFC 7693 §3.1: the mixing function G. */
function mix(ia: number, ib: number, ic: number, id: number, x: number, y: number): void {
  let a = v[ia]!;
  let b = v[ib]!;
  let c = v[ic]!;
  let d = v[id]!;
  a = (a + b + x) | 0;
  d ^= a;
  d = (d >>> 16) | (d << 16);
  c = (c + d) | 0;
  b ^= c;
  b = (b >>> 12) | (b << 20);
  a = (a + b + y) | 0;
  d ^= a;
  d = (d >>> 8) | (d << 24);
  c = (c + d) | 0;
  b ^= c;
  b = (b >>> 7) | (b << 25);
  v[ia] = a;
  v[ib] = b;
  v[ic] = c;
  v[id] = d;
}

/** Leaves nothing of keys behind. */
function wipe(): void {
  state.fill(0);
  block.fill(0);
  m.fill(0);
  v.fill(0);
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
const inner = new Int32Array(8);
const outer = new Int32Array(8);

function takeRoot(into: Int32Array, pad: number): void {
  beginPadded(root, pad);
  compress(false);
  into.set(state);
}

function resume(from: Int32Array): void {
  state.set(from);
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
  for (const secret of [inner, outer, digest, root]) secret.fill(0);
}

const digest = new Uint8Array(LENGTH);
const root = new Uint8Array(LENGTH);
const NOTHING = new Uint8Array(0);
const COUNTER = [Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3)] as const;
