import { createCipheriv, createDecipheriv } from 'node:crypto';
import koffi from 'koffi';
import { allocate, type Memory, writeUint64 } from './memory.js';

/**
 * RFC 8439 §2.8: key, nonce and tag lengths in bytes. Then what an implementation may use around a message: so many
 * bytes in front of what it reads and of what it writes, and behind their tags.
 */
export const AEAD = { key: 32, nonce: 12, tag: 16, before: 64, behind: 16 } as const;

/**
 * ChaCha20-Poly1305 without associated data, as WireGuard's transport uses it ([W] 5.4.6), over memory that is
 * named by address. The key is given with every call and kept nowhere else; `forget` wipes the copy of the
 * last one. One thread, one instance.
 */
export interface Aead {
  /** Which implementation this is, for a log. */
  readonly name: string;
  /**
   * Encrypts `length` bytes, and writes the tag behind them. What is in front of the output stays as it is;
   * `AEAD.before` bytes in front of the input, and `AEAD.behind` bytes behind the tag, do not.
   *
   * @param key address of 32 bytes
   * @param counter the nonce's last 8 bytes, below 2^53; the first 4 are zero
   * @param at where the input is in `from`
   * @param out where the output is to be in `to`; not in the input
   */
  seal(key: number, counter: number, from: Memory, at: number, to: Memory, out: number, length: number): void;
  /**
   * Decrypts `length` bytes, behind which the tag stands. What is behind the tag stays as it is; the tag and
   * `AEAD.before` bytes in front of the input, and of the output, do not.
   *
   * @param at where the input is in `from`
   * @param out where the output is to be in `to`; not in the input
   * @returns whether the tag is right; if not, what stands at the output is garbage
   */
  open(
    key: number,
    counter: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): boolean;
  /** Wipes what is left of the last key. */
  forget(): void;
}

/**
 * The fastest implementation that works here: OpenSSL's primitives, or its EVP, from the node binary; EVP from the
 * system's libcrypto where node links to that; else node:crypto. Each proves itself before it is used.
 *
 * @param evp whether OpenSSL may be called directly
 */
export function loadAead(evp = true): Aead {
  for (const make of evp ? IMPLEMENTATIONS : IMPLEMENTATIONS.slice(-1)) {
    try {
      const aead = make();
      if (passesSelfTest(aead)) return aead;
    } catch {} // not exported, not installed, or an OpenSSL that lacks the cipher: the next one
  }
  throw new Error('no implementation of ChaCha20-Poly1305 works on this machine');
}

/** Best first. Exported for tests, which compare them. */
export const IMPLEMENTATIONS: readonly (() => Aead)[] = [
  () => new PrimitivesAead(),
  () => new EvpAead(null),
  () => new EvpAead('libcrypto.so.3'),
  () => new NodeAead(),
];

/** OSSL_PARAM, openssl/core.h: key pointer @0, type u32 @8, data pointer @16, size @24, return size @32. */
export const OSSL_PARAM = { key: 0, type: 8, data: 16, dataSize: 24, size: 40 } as const;
export const OSSL_PARAM_OCTET_STRING = 5;

/** Layout of the scratch memory of `EvpAead`. */
const SCRATCH = {
  nonce: 0,
  outLength: 16,
  tagName: 24,
  parameters: 32,
  noKey: 128,
  data: 160,
  dataLength: 1024,
  size: 1200,
} as const;

/** OpenSSL's EVP, three or four calls a packet: EVP_EncryptInit(3ssl). */
class EvpAead implements Aead {
  readonly name: string;
  readonly #evp;
  readonly #scratch: Memory = allocate(SCRATCH.size);
  readonly #sealing: number;
  readonly #opening: number;

  /** @param library where to look for OpenSSL; null is what the process has already */
  constructor(library: string | null) {
    this.name = `OpenSSL EVP (${library ?? 'of the node binary'})`;
    const evp = declareEvp(library);
    this.#evp = evp;
    const { bytes, view, address } = this.#scratch;
    bytes.set(new TextEncoder().encode('tag\0'), SCRATCH.tagName);
    view.setBigUint64(SCRATCH.parameters + OSSL_PARAM.key, BigInt(address + SCRATCH.tagName), true);
    view.setUint32(SCRATCH.parameters + OSSL_PARAM.type, OSSL_PARAM_OCTET_STRING, true);
    view.setBigUint64(SCRATCH.parameters + OSSL_PARAM.dataSize, BigInt(AEAD.tag), true);
    // An all-zero second parameter ends the list: the memory is zero already.
    const cipher = evp.fetch(0, 'ChaCha20-Poly1305', 0);
    if (cipher === 0) throw new Error('this OpenSSL has no ChaCha20-Poly1305');
    this.#sealing = evp.newContext();
    this.#opening = evp.newContext();
    evp.encryptInit(this.#sealing, cipher, address + SCRATCH.noKey, address + SCRATCH.nonce, 0);
    evp.decryptInit(this.#opening, cipher, address + SCRATCH.noKey, address + SCRATCH.nonce, 0);
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
    const evp = this.#evp;
    const { address } = this.#scratch;
    const input = from.address + at;
    const output = to.address + out;
    this.#prepare(counter, output + length);
    evp.encryptInit(this.#sealing, 0, key, address + SCRATCH.nonce, 0);
    evp.encryptUpdate(this.#sealing, output, address + SCRATCH.outLength, input, length);
    evp.encryptFinal(this.#sealing, output + length, address + SCRATCH.outLength);
    evp.getParameters(this.#sealing, address + SCRATCH.parameters);
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
    const evp = this.#evp;
    const { address } = this.#scratch;
    const input = from.address + at;
    const output = to.address + out;
    this.#prepare(counter, input + length);
    evp.decryptInit(this.#opening, 0, key, address + SCRATCH.nonce, address + SCRATCH.parameters);
    evp.decryptUpdate(this.#opening, output, address + SCRATCH.outLength, input, length);
    return evp.decryptFinal(this.#opening, output + length, address + SCRATCH.outLength) === 1;
  }

  forget(): void {
    const scratch = this.#scratch;
    const noKey = scratch.address + SCRATCH.noKey;
    // With some data, so that nothing is left on the stack either.
    this.seal(noKey, 0, scratch, SCRATCH.data, scratch, SCRATCH.data, SCRATCH.dataLength);
    this.open(noKey, 0, scratch, SCRATCH.data, scratch, SCRATCH.data, SCRATCH.dataLength);
  }

  /** Writes the nonce, and where OpenSSL finds or leaves the tag. */
  #prepare(counter: number, tag: number): void {
    const { view } = this.#scratch;
    writeUint64(view, SCRATCH.nonce + 4, counter);
    writeUint64(view, SCRATCH.parameters + OSSL_PARAM.data, tag);
  }
}

type Init = (context: number, cipher: number, key: number, nonce: number, parameters: number) => number;
type Update = (context: number, out: number, outLength: number, input: number, length: number) => number;

export function declareEvp(library: string | null) {
  const lib = koffi.load(library);
  const init = 'intptr_t context, intptr_t cipher, intptr_t key, intptr_t nonce, intptr_t parameters';
  const update = 'intptr_t context, intptr_t out, intptr_t outLength, intptr_t input, int length';
  const three = 'intptr_t context, intptr_t out, intptr_t outLength';
  return {
    fetch: lib.func('intptr_t EVP_CIPHER_fetch(intptr_t library, const char *name, intptr_t properties)') as (
      library: number,
      name: string,
      properties: number,
    ) => number,
    newContext: lib.func('intptr_t EVP_CIPHER_CTX_new()') as () => number,
    getParameters: lib.func('int EVP_CIPHER_CTX_get_params(intptr_t context, intptr_t parameters)') as (
      context: number,
      parameters: number,
    ) => number,
    encryptInit: lib.func(`int EVP_EncryptInit_ex2(${init})`) as Init,
    encryptUpdate: lib.func(`int EVP_EncryptUpdate(${update})`) as Update,
    encryptFinal: lib.func(`int EVP_EncryptFinal_ex(${three})`) as (
      c: number,
      out: number,
      l: number,
    ) => number,
    decryptInit: lib.func(`int EVP_DecryptInit_ex2(${init})`) as Init,
    decryptUpdate: lib.func(`int EVP_DecryptUpdate(${update})`) as Update,
    decryptFinal: lib.func(`int EVP_DecryptFinal_ex(${three})`) as (
      c: number,
      out: number,
      l: number,
    ) => number,
  };
}

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
 * there are two in every call from JavaScript. Four blocks and more end with a VZEROALL. docs/PERFORMANCE.md has figures.
 *
 * So Poly1305 sees ciphertext, padding and lengths in one piece: they are written where the tag is to be, or was. And
 * Poly1305's key, which is the cipher's first block, is made by the same call that encrypts: 64 zeros are put in front
 * of the input.
 */
class PrimitivesAead implements Aead {
  readonly name = 'OpenSSL primitives (of the node binary)';
  readonly #openssl;
  readonly #scratch: Memory = allocate(PRIMITIVES.size);
  /** What was in front of the output, or behind the input's tag. */
  readonly #kept = new Int32Array(BEFORE / 4);

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

/** node:crypto: six times slower, and there on every node. */
class NodeAead implements Aead {
  readonly name = 'node:crypto';
  readonly #nonce = Buffer.alloc(AEAD.nonce);

  seal(
    key: number,
    counter: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): void {
    const cipher = createCipheriv('chacha20-poly1305', bytesAt(key, AEAD.key), this.#nonceOf(counter), {
      authTagLength: AEAD.tag,
    });
    to.bytes.set(cipher.update(from.bytes.subarray(at, at + length)), out);
    cipher.final();
    to.bytes.set(cipher.getAuthTag(), out + length);
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
    const decipher = createDecipheriv('chacha20-poly1305', bytesAt(key, AEAD.key), this.#nonceOf(counter), {
      authTagLength: AEAD.tag,
    });
    decipher.setAuthTag(from.bytes.subarray(at + length, at + length + AEAD.tag));
    to.bytes.set(decipher.update(from.bytes.subarray(at, at + length)), out);
    try {
      decipher.final();
      return true;
    } catch {
      return false; // the tag is wrong
    }
  }

  forget(): void {}

  #nonceOf(counter: number): Buffer {
    this.#nonce.writeUInt32LE(counter % 0x1_0000_0000, 4);
    this.#nonce.writeUInt32LE(Math.floor(counter / 0x1_0000_0000), 8);
    return this.#nonce;
  }
}

/** The bytes at an address. The caller knows that they are there. */
const bytesAt = (address: number, length: number): Uint8Array => new Uint8Array(koffi.view(address, length));

/** Lengths to prove oneself with: what fits less than a block, and the edges at which OpenSSL takes another loop. */
const SELF_TEST_LENGTHS = [0, 1, 15, 16, 17, 37, 48, 63, 64, 65, 255, 256, 448, 960, 1000, 1420, 4000];

/** Where `passesSelfTest` has its things: what is read and what is written have room around them. */
const SELF_TEST = { key: 0, input: 128, output: 4608, size: 9088 } as const;

/** Whether an implementation makes what node:crypto makes of the same, reads it again, and refuses a forgery. */
function passesSelfTest(aead: Aead): boolean {
  const memory = allocate(SELF_TEST.size);
  const passes = SELF_TEST_LENGTHS.every((length, i) => passesWith(aead, memory, length, 0x4_0000_0007 + i));
  aead.forget();
  return passes;
}

/** @param counter some of them have more than 32 bits */
function passesWith(aead: Aead, memory: Memory, length: number, counter: number): boolean {
  const { bytes, address } = memory;
  const { key, input, output } = SELF_TEST;
  for (let i = 0; i < bytes.length; i++) bytes[i] = 0x80 + i * 7 + (i >> 5);
  const plain = Buffer.from(bytes.slice(input, input + length));
  const inFront = Buffer.from(bytes.slice(output - AEAD.before, output));
  const nonce = Buffer.alloc(AEAD.nonce);
  nonce.writeBigUInt64LE(BigInt(counter), 4);
  const reference = createCipheriv('chacha20-poly1305', bytes.subarray(key, key + AEAD.key), nonce, {
    authTagLength: AEAD.tag,
  });
  const expected = Buffer.concat([reference.update(plain), reference.final(), reference.getAuthTag()]);

  aead.seal(address + key, counter, memory, input, memory, output, length);
  const end = output + expected.length;
  const isRight =
    expected.equals(bytes.subarray(output, end)) &&
    inFront.equals(bytes.subarray(output - AEAD.before, output));
  if (!isRight) return false;

  const behind = Buffer.from(bytes.slice(end, end + AEAD.behind));
  if (!aead.open(address + key, counter, memory, output, memory, input, length)) return false;
  if (!plain.equals(bytes.subarray(input, input + length))) return false;
  if (!behind.equals(bytes.subarray(end, end + AEAD.behind))) return false;
  bytes.set(expected, output);
  bytes[output + (length >> 1)]! ^= 1;
  return !aead.open(address + key, counter, memory, output, memory, input, length);
}
