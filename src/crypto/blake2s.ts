import { secretBytes } from '../wireguard/crypto.js';
import { type Compress, compressInLoop, IV, unrolledCompress } from './blake2s-compress.js';

/**
 * BLAKE2s, RFC 7693, and HMAC and HKDF with it, as [W] 5.4 uses them.
 *
 * A handshake hashes dozens of very short inputs. Measured for 64 bytes: this 0.25 µs, OpenSSL's EVP 0.28, hash-wasm 0.46,
 * node:crypto 0.9, `@noble/hashes` 2.2; for two outputs of HKDF: this 1.9, OpenSSL's EVP 2.8. Besides, node:crypto has no
 * keyed BLAKE2s (for `Mac`), and clears its contexts, which hold keys, only when the garbage collector runs. Here all
 * state is a few small arrays, zeroed after use.
 */

const BLOCK = 64;
const LENGTH = 32;

/**
 * The state of all hashes: they run one at a time. On buffers of their own, as `secretBytes` explains. Words are
 * little-endian in BLAKE2s, and in every machine that this package runs on.
 */
const stateBytes = secretBytes(LENGTH);
const state = new Int32Array(stateBytes.buffer);
const block = secretBytes(BLOCK);
const blockWords = new Int32Array(block.buffer);
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
    // A full block waits for more input: the last one is compressed differently.
    if (filled === BLOCK) compress(false);
    const start = filled;
    const taken = Math.min(input.length - at, BLOCK - start);
    for (let i = 0; i < taken; i++) block[start + i] = input[at + i]!;
    filled = start + taken;
    at += taken;
  }
}

function end(out: Uint8Array, length: number): void {
  for (let i = filled; i < BLOCK; i++) block[i] = 0;
  compress(true);
  for (let i = 0; i < length; i++) out[i] = stateBytes[i]!;
}

const compressWords: Compress = unrolledCompress() ?? compressInLoop;

function compress(isLast: boolean): void {
  count += filled;
  filled = 0;
  compressWords(state, blockWords, count, isLast ? -1 : 0);
}

/** Zeroes what is left of keys. */
function wipe(): void {
  zero(state);
  zero(blockWords);
}

/** `fill` is a call out of JavaScript, and slower than a loop for arrays this small. */
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
  for (let i = 0; i < blockWords.length; i++) blockWords[i] = pad;
  for (let i = 0; i < key.length; i++) block[i]! ^= key[i]!;
  filled = BLOCK;
}
const INNER = 0x36363636;
const OUTER = 0x5c5c5c5c;

function hmac(key: Uint8Array, input: Uint8Array, out: Uint8Array): void {
  beginPadded(key, INNER);
  update(input);
  end(digest, LENGTH);
  beginPadded(key, OUTER);
  update(digest);
  end(out, LENGTH);
}

/** Hash states after the padded root key: all outputs of `kdf` start from them. */
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
