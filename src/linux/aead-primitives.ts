import koffi from 'koffi';
import { AEAD, type Aead } from './aead-contract.js';
import { allocate, type Memory, writeUint64 } from './memory.js';

/** A constant of its own, for loops. */
const BEFORE = 64 satisfies typeof AEAD.before;

/** Layout of the scratch memory of `PrimitivesAead`: Poly1305's state is as large as OpenSSL says. */
const PRIMITIVES = {
  nonce: 0,
  tag: 16,
  noKey: 32,
  state: 64,
  data: 1024,
  dataLength: 1024,
  size: 3072,
} as const;

/**
 * ChaCha20 and Poly1305 themselves, put together by RFC 8439 §2.8 here: four calls a packet.
 *
 * EVP needs as many, and takes two to three times as long. Some of that is work of its own. But most is that it hands
 * Poly1305 the last blocks one by one, and where that is done with AVX-512 the short loop leaves the upper halves of
 * the registers in use: then each change between code with SSE and code with AVX costs this processor some 100 ns, and
 * there are two in every call from JavaScript. Four blocks and more end with a VZEROALL. docs/PERFORMANCE.md has the figures.
 *
 * So Poly1305 sees ciphertext, padding and lengths in one piece: they are written where the tag is to be, or was. And
 * Poly1305's key, which is the cipher's first block, is made by the same call that encrypts: 64 zeros are put in front
 * of the input.
 */
export class PrimitivesAead implements Aead {
  readonly name = 'OpenSSL primitives (of the node binary)';
  readonly #openssl;
  readonly #scratch: Memory = allocate(PRIMITIVES.size);
  /** What was in front of the output, or behind the input's tag. */
  readonly #kept = new Int32Array(BEFORE / 4);

  /** @throws where the functions are not exported */
  constructor() {
    this.#openssl = declarePrimitives();
    if (this.#openssl.stateSize() > PRIMITIVES.data - PRIMITIVES.state)
      throw new Error('a Poly1305 unknown here');
  }

  seal(
    key: number,
    counter: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): void {
    const { view } = to;
    const kept = this.#kept;
    const inFront = out - BEFORE;
    for (let i = 0; i < BEFORE; i += 4) kept[i >> 2] = view.getInt32(inFront + i, true);
    this.#crypt(key, counter, from, at, to, out, length);
    this.#authenticate(to, out, length, to.address + inFront, to.address + out + length);
    for (let i = 0; i < BEFORE; i += 4) view.setInt32(inFront + i, kept[i >> 2]!, true);
  }

  open(
    key: number,
    counter: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): boolean {
    const { view } = from;
    const { view: ours, address } = this.#scratch;
    const tag = at + length;
    const tag0 = view.getInt32(tag, true);
    const tag1 = view.getInt32(tag + 4, true);
    const tag2 = view.getInt32(tag + 8, true);
    const tag3 = view.getInt32(tag + 12, true);
    const behind = tag + AEAD.tag;
    const behind0 = view.getInt32(behind, true);
    const behind1 = view.getInt32(behind + 4, true);
    const behind2 = view.getInt32(behind + 8, true);
    const behind3 = view.getInt32(behind + 12, true);
    this.#crypt(key, counter, from, at, to, out, length);
    this.#authenticate(from, at, length, to.address + out - AEAD.before, address + PRIMITIVES.tag);
    view.setInt32(behind, behind0, true);
    view.setInt32(behind + 4, behind1, true);
    view.setInt32(behind + 8, behind2, true);
    view.setInt32(behind + 12, behind3, true);
    // All of it is compared, in the same time wherever they differ.
    const difference =
      (tag0 ^ ours.getInt32(PRIMITIVES.tag, true)) |
      (tag1 ^ ours.getInt32(PRIMITIVES.tag + 4, true)) |
      (tag2 ^ ours.getInt32(PRIMITIVES.tag + 8, true)) |
      (tag3 ^ ours.getInt32(PRIMITIVES.tag + 12, true));
    return difference === 0;
  }

  forget(): void {
    const scratch = this.#scratch;
    const noKey = scratch.address + PRIMITIVES.noKey;
    const { data, dataLength } = PRIMITIVES;
    // With some data, so that nothing is left on the stack either.
    this.seal(noKey, 0, scratch, data, scratch, data, dataLength);
    this.#kept.fill(0);
  }

  /** Leaves the cipher's first block in front of the output: Poly1305's key, RFC 8439 §2.6. */
  #crypt(
    key: number,
    counter: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): void {
    const { view, address } = this.#scratch;
    const input = at - BEFORE;
    const { view: plain } = from;
    // Eight words, one by one: this is the hottest place of all.
    plain.setFloat64(input, 0);
    plain.setFloat64(input + 8, 0);
    plain.setFloat64(input + 16, 0);
    plain.setFloat64(input + 24, 0);
    plain.setFloat64(input + 32, 0);
    plain.setFloat64(input + 40, 0);
    plain.setFloat64(input + 48, 0);
    plain.setFloat64(input + 56, 0);
    // A block counter and a nonce of 4 zero bytes come first.
    writeUint64(view, PRIMITIVES.nonce + 8, counter);
    this.#openssl.chacha20(
      to.address + out - BEFORE,
      from.address + input,
      BEFORE + length,
      key,
      address + PRIMITIVES.nonce,
    );
  }

  /** Writes the tag of a ciphertext, RFC 8439 §2.8. What is behind the ciphertext is written over. */
  #authenticate(memory: Memory, at: number, length: number, key: number, tag: number): void {
    const { view, address } = memory;
    const end = at + length;
    view.setFloat64(end, 0);
    view.setFloat64(end + 8, 0);
    const padded = (length + 15) & ~15;
    view.setFloat64(at + padded, 0); // there is no associated data
    view.setInt32(at + padded + 8, length, true);
    view.setInt32(at + padded + 12, 0);
    const state = this.#scratch.address + PRIMITIVES.state;
    this.#openssl.init(state, key);
    this.#openssl.update(state, address + at, padded + AEAD.tag);
    this.#openssl.final(state, tag);
  }
}

/** include/crypto/chacha.h and poly1305.h of OpenSSL 1.1 to 3: its own, which the node binary happens to export. */
function declarePrimitives() {
  const lib = koffi.load(null);
  const chacha20 = 'intptr_t out, intptr_t input, size_t length, intptr_t key, intptr_t counter';
  return {
    chacha20: lib.func(`void ChaCha20_ctr32(${chacha20})`) as (
      out: number,
      input: number,
      length: number,
      key: number,
      counter: number,
    ) => void,
    stateSize: lib.func('size_t Poly1305_ctx_size()') as () => number,
    init: lib.func('void Poly1305_Init(intptr_t state, intptr_t key)') as (s: number, key: number) => void,
    update: lib.func('void Poly1305_Update(intptr_t state, intptr_t input, size_t length)') as (
      state: number,
      input: number,
      length: number,
    ) => void,
    final: lib.func('void Poly1305_Final(intptr_t state, intptr_t tag)') as (s: number, tag: number) => void,
  };
}
