import koffi from 'koffi';
import { allocate, type Memory, writeUint64 } from '../linux/ffi/memory.js';

/** RFC 8439 §2.5: the tag of a message under a key of 32 bytes. One thread, one instance. */
export interface Poly1305 {
  /** The last tag, as four little-endian words. */
  readonly tag: Int32Array;
  /**
   * Leaves the tag of a message in `tag`.
   *
   * @param keys where the key is, at `key`
   * @param length bytes of the message, a multiple of 16
   */
  authenticate(keys: Memory, key: number, from: Memory, at: number, length: number): void;
  /** Wipes what is left of the last key, but what `authenticate` with another key writes over. */
  forget(): void;
}

/** Bytes of a key, and of a tag. */
const KEY = 32;
const TAG = 16;

/** The most that OpenSSL's state may need; it says how much it does. */
const STATE_ROOM = 512;

/** include/crypto/poly1305.h of OpenSSL 1.1 to 3: its own, which the node binary happens to export. */
function declarePoly1305() {
  const lib = koffi.load(null);
  const openssl = {
    stateSize: lib.func('size_t Poly1305_ctx_size()') as () => number,
    init: lib.func('void Poly1305_Init(intptr_t state, intptr_t key)') as (s: number, key: number) => void,
    update: lib.func('void Poly1305_Update(intptr_t state, intptr_t input, size_t length)') as (
      state: number,
      input: number,
      length: number,
    ) => void,
    final: lib.func('void Poly1305_Final(intptr_t state, intptr_t tag)') as (s: number, tag: number) => void,
  };
  if (openssl.stateSize() > STATE_ROOM) throw new Error('a Poly1305 unknown here');
  return openssl;
}

/**
 * The fastest that works here.
 *
 * @throws where OpenSSL's functions are not exported
 */
export function loadPoly1305(): Poly1305 {
  const calls = new Poly1305Calls();
  if (!Poly1305Limbs.isUsable()) return calls;
  const limbs = new Poly1305Limbs();
  return agree(limbs, calls) ? limbs : calls;
}

/** OpenSSL's as it is meant to be used: three calls. Exported for tests, which compare the two. */
export class Poly1305Calls implements Poly1305 {
  readonly tag = new Int32Array(TAG / 4);
  readonly #openssl = declarePoly1305();
  readonly #state = allocate(STATE_ROOM + TAG);

  authenticate(keys: Memory, key: number, from: Memory, at: number, length: number): void {
    const { address, view } = this.#state;
    this.#openssl.init(address, keys.address + key);
    this.#openssl.update(address, from.address + at, length);
    this.#openssl.final(address, address + STATE_ROOM);
    for (let i = 0; i < TAG; i += 4) this.tag[i >> 2] = view.getInt32(STATE_ROOM + i, true);
  }

  forget(): void {
    this.tag.fill(0);
  }
}

/**
 * The state of OpenSSL's Poly1305 where the processor has AVX-512 IFMA, crypto/poly1305/asm/poly1305-x86_64.pl,
 * `poly1305_init_base2_44`: the sum so far in limbs of 44, 44 and 42 bits, each a u64; the last two limbs of r times 20;
 * the three limbs of r; and -1 while the powers of r have not been computed, which stand behind it.
 */
const LIMBS = { sum: 0, times20: 24, r: 40, powers: 64, compared: 72 } as const;

/**
 * OpenSSL's with one call instead of three: what `Poly1305_Init` writes and `Poly1305_Final` reads is little, and a call of
 * C costs more than to do that here. The state is OpenSSL's own business, and another one on each kind of processor:
 * this is for one kind, and `isUsable` tells whether it is what this process has. Others use `Poly1305Calls`.
 */
export class Poly1305Limbs implements Poly1305 {
  readonly tag = new Int32Array(TAG / 4);
  readonly #openssl = declarePoly1305();
  readonly #state = allocate(STATE_ROOM);

  constructor() {
    // It also writes which functions are for this processor. `Poly1305_Final` would wipe them, and is never called.
    const key = allocate(KEY);
    this.#openssl.init(this.#state.address, key.address);
  }

  /** Whether `Poly1305_Init` leaves the state that is written here, whatever the key. */
  static isUsable(): boolean {
    const ours = new Poly1305Limbs().#state;
    const theirs = allocate(STATE_ROOM);
    const key = allocate(KEY);
    const openssl = declarePoly1305();
    for (let round = 0; round < 64; round++) {
      for (let i = 0; i < TAG; i++)
        key.bytes[i] = round < 2 ? -round : i * 29 + round * 57 + (i << (round & 7));
      openssl.init(theirs.address, key.address);
      writeKey(ours.view, key.view, 0);
      for (let i = 0; i < LIMBS.compared; i++) if (ours.bytes[i] !== theirs.bytes[i]) return false;
    }
    return true;
  }

  authenticate(keys: Memory, key: number, from: Memory, at: number, length: number): void {
    const { address, view } = this.#state;
    writeKey(view, keys.view, key);
    this.#openssl.update(address, from.address + at, length);
    this.#finish(keys.view, key + TAG);
  }

  forget(): void {
    this.tag.fill(0);
  }

  /** Sum modulo 2^130 - 5, and the key's second half added modulo 2^128: in words of 32 bits, a carry being what is above. */
  #finish(keys: DataView, at: number): void {
    const { view } = this.#state;
    const low1 = view.getInt32(LIMBS.sum + 8, true);
    const high1 = view.getInt32(LIMBS.sum + 12, true);
    const low2 = view.getInt32(LIMBS.sum + 16, true);
    const high2 = view.getInt32(LIMBS.sum + 20, true);
    const sum0 = view.getInt32(LIMBS.sum, true);
    const bits1 = low1 << 12;
    const sum1 = (view.getInt32(LIMBS.sum + 4, true) + bits1) | 0;
    const bits2 = low2 << 24;
    const part2 = (((low1 >>> 20) | (high1 << 12)) + carry(sum1, bits1)) | 0;
    const sum2 = (part2 + bits2) | 0;
    const carry2 = carry(sum2, bits2);
    const sum3 = (((low2 >>> 8) | (high2 << 24)) + carry2) | 0;
    const sum4 = (high2 >>> 8) + carry(sum3, carry2);
    // The sum is below 2 (2^130 - 5): that is in it if adding 5 carries into bit 130.
    const plus0 = (sum0 + 5) | 0;
    const plus1 = (sum1 + carry(plus0, 5)) | 0;
    const plus2 = (sum2 + (carry(plus0, 5) & zero(plus1))) | 0;
    const plus3 = (sum3 + (carry(plus0, 5) & zero(plus1) & zero(plus2))) | 0;
    const times = (sum4 + (carry(plus0, 5) & zero(plus1) & zero(plus2) & zero(plus3))) >>> 2;
    const key0 = keys.getInt32(at, true);
    const key1 = keys.getInt32(at + 4, true);
    const key2 = keys.getInt32(at + 8, true);
    const five = 5 * times;
    const low = (sum0 + five) | 0;
    const word0 = (low + key0) | 0;
    const carry0 = carry(low, five) + carry(word0, key0);
    const mid = (sum1 + carry0) | 0;
    const word1 = (mid + key1) | 0;
    const carry1 = carry(mid, carry0) + carry(word1, key1);
    const high = (sum2 + carry1) | 0;
    const word2 = (high + key2) | 0;
    const word3 = (sum3 + carry(high, carry1) + carry(word2, key2) + keys.getInt32(at + 12, true)) | 0;
    const { tag } = this;
    tag[0] = word0;
    tag[1] = word1;
    tag[2] = word2;
    tag[3] = word3;
  }
}

/** Whether a sum of 32 bits, of which one summand is given, did not fit: 1 or 0. */
const carry = (sum: number, summand: number): number => +(sum >>> 0 < summand >>> 0);
const zero = (word: number): number => +(word === 0);

/** A state that has seen nothing: r is the key's first half, with some bits cleared, RFC 8439 §2.5. */
function writeKey(state: DataView, keys: DataView, at: number): void {
  const r0 = keys.getUint32(at, true) & 0x0fff_ffff;
  const r1 = keys.getUint32(at + 4, true) & 0x0fff_fffc;
  const r2 = keys.getUint32(at + 8, true) & 0x0fff_fffc;
  const r3 = keys.getUint32(at + 12, true) & 0x0fff_fffc;
  const low1 = (r1 >>> 12) | (r2 << 20);
  const high1 = (r2 >>> 12) & 0xfff;
  const low2 = (r2 >>> 24) | (r3 << 8);
  const high2 = r3 >>> 24;
  state.setFloat64(LIMBS.sum, 0);
  state.setFloat64(LIMBS.sum + 8, 0);
  state.setFloat64(LIMBS.sum + 16, 0);
  writeUint64(state, LIMBS.times20, 20 * (high1 * 0x1_0000_0000 + (low1 >>> 0)));
  writeUint64(state, LIMBS.times20 + 8, 20 * (high2 * 0x1_0000_0000 + (low2 >>> 0)));
  state.setInt32(LIMBS.r, r0, true);
  state.setInt32(LIMBS.r + 4, r1 & 0xfff, true);
  state.setInt32(LIMBS.r + 8, low1, true);
  state.setInt32(LIMBS.r + 12, high1, true);
  state.setInt32(LIMBS.r + 16, low2, true);
  state.setInt32(LIMBS.r + 20, high2, true);
  state.setInt32(LIMBS.powers, -1, true);
  state.setInt32(LIMBS.powers + 4, -1, true);
}

/** Whether two give the same tags, for messages of all the lengths for which the code inside differs. */
function agree(a: Poly1305, b: Poly1305): boolean {
  const memory = allocate(KEY + 2048);
  for (let length = 0; length <= 2048; length += 16) {
    for (let i = 0; i < memory.bytes.length; i++) memory.bytes[i] = i * 7 + length + (i >> 3);
    // All ones: the most that carries can do.
    if (length % 64 === 0) memory.bytes.fill(255);
    a.authenticate(memory, 0, memory, KEY, length);
    b.authenticate(memory, 0, memory, KEY, length);
    if (!a.tag.every((word, i) => word === b.tag[i])) return false;
  }
  return true;
}
