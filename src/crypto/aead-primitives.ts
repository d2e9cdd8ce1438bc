import koffi from 'koffi';
import { allocate, type Memory, writeUint64 } from '../linux/ffi/memory.js';
import { AEAD, type Aead } from './aead-contract.js';
import { loadPoly1305 } from './poly1305.js';

/** A constant of its own, for loops. */
const BEFORE = 64 satisfies typeof AEAD.before;

/** Layout of the scratch memory of `PrimitivesAead`. */
const SCRATCH = { nonce: 0, noKey: 32, data: 1024, dataLength: 1024, size: 3072 } as const;

/**
 * ChaCha20 and Poly1305 themselves, put together by RFC 8439 §2.8 here: four calls a packet, or two where `Poly1305Limbs`
 * is of use.
 *
 * EVP needs four, and takes two to three times as long. Some of that is work of its own. But most is that it hands
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
  readonly #chacha20 = declareChaCha20();
  readonly #poly1305 = loadPoly1305();
  readonly #scratch: Memory = allocate(SCRATCH.size);
  /** What was in front of the output, or behind the input's tag. */
  readonly #kept = new Int32Array(BEFORE / 4);

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
    this.#authenticate(to, inFront, to, out, length);
    const { tag } = this.#poly1305;
    const behind = out + length;
    view.setInt32(behind, tag[0]!, true);
    view.setInt32(behind + 4, tag[1]!, true);
    view.setInt32(behind + 8, tag[2]!, true);
    view.setInt32(behind + 12, tag[3]!, true);
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
    const end = at + length;
    const tag0 = view.getInt32(end, true);
    const tag1 = view.getInt32(end + 4, true);
    const tag2 = view.getInt32(end + 8, true);
    const tag3 = view.getInt32(end + 12, true);
    const behind = end + AEAD.tag;
    const behind0 = view.getInt32(behind, true);
    const behind1 = view.getInt32(behind + 4, true);
    const behind2 = view.getInt32(behind + 8, true);
    const behind3 = view.getInt32(behind + 12, true);
    this.#crypt(key, counter, from, at, to, out, length);
    this.#authenticate(to, out - BEFORE, from, at, length);
    view.setInt32(behind, behind0, true);
    view.setInt32(behind + 4, behind1, true);
    view.setInt32(behind + 8, behind2, true);
    view.setInt32(behind + 12, behind3, true);
    // All of it is compared, in the same time wherever they differ.
    const { tag } = this.#poly1305;
    const difference = (tag0 ^ tag[0]!) | (tag1 ^ tag[1]!) | (tag2 ^ tag[2]!) | (tag3 ^ tag[3]!);
    return difference === 0;
  }

  forget(): void {
    const scratch = this.#scratch;
    const noKey = scratch.address + SCRATCH.noKey;
    const { data, dataLength } = SCRATCH;
    // With some data, so that nothing is left on the stack either.
    this.seal(noKey, 0, scratch, data, scratch, data, dataLength);
    this.#kept.fill(0);
    this.#poly1305.forget();
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
    writeUint64(view, SCRATCH.nonce + 8, counter);
    this.#chacha20(
      to.address + out - BEFORE,
      from.address + input,
      BEFORE + length,
      key,
      address + SCRATCH.nonce,
    );
  }

  /** Has Poly1305 make the tag of a ciphertext, RFC 8439 §2.8. What is behind the ciphertext is written over. */
  #authenticate(keys: Memory, key: number, memory: Memory, at: number, length: number): void {
    const { view } = memory;
    const end = at + length;
    view.setFloat64(end, 0);
    view.setFloat64(end + 8, 0);
    const padded = (length + 15) & ~15;
    view.setFloat64(at + padded, 0); // there is no associated data
    view.setInt32(at + padded + 8, length, true);
    view.setInt32(at + padded + 12, 0);
    this.#poly1305.authenticate(keys, key, memory, at, padded + AEAD.tag);
  }
}

/**
 * include/crypto/chacha.h of OpenSSL 1.1 to 3: its own, which the node binary happens to export.
 *
 * @throws where it is not exported
 */
function declareChaCha20() {
  const parameters = 'intptr_t out, intptr_t input, size_t length, intptr_t key, intptr_t counter';
  return koffi.load(null).func(`void ChaCha20_ctr32(${parameters})`) as (
    out: number,
    input: number,
    length: number,
    key: number,
    counter: number,
  ) => void;
}
