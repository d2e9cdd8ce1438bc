import { createCipheriv, createDecipheriv } from 'node:crypto';
import koffi from 'koffi';
import { allocate, type Memory, writeUint64 } from '../linux/ffi/memory.js';
import { AEAD, type Aead } from './aead-contract.js';
import { PrimitivesAead } from './aead-primitives.js';

export { AEAD, type Aead };

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
