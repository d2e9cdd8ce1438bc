import { createCipheriv, createDecipheriv, timingSafeEqual } from 'node:crypto';
import koffi from 'koffi';
import { allocate, type Memory } from './memory.js';

/** RFC 8439 §2.8: key, nonce and tag lengths in bytes. */
export const AEAD = { key: 32, nonce: 12, tag: 16 } as const;

/**
 * ChaCha20-Poly1305 without associated data, as WireGuard's transport uses it ([W] 5.4.6), over memory that is
 * named by address. The key is given with every call and kept nowhere else; `forget` wipes the copy of the
 * last one. One thread, one instance.
 */
export interface Aead {
  /** Which implementation this is, for a log. */
  readonly name: string;
  /**
   * Encrypts `length` bytes from `input` to `output`, and writes the tag behind them. They may be the same place.
   *
   * @param key address of 32 bytes
   * @param counter the nonce's last 8 bytes, below 2^53; the first 4 are zero
   */
  seal(key: number, counter: number, input: number, output: number, length: number): void;
  /**
   * Decrypts `length` bytes, behind which the tag stands.
   *
   * @returns whether the tag is right; if not, what stands at `output` is garbage
   */
  open(key: number, counter: number, input: number, output: number, length: number): boolean;
  /** Wipes what is left of the last key. */
  forget(): void;
}

/**
 * The fastest implementation that works here: OpenSSL's EVP from the node binary, from the system's libcrypto
 * where node links to that, else node:crypto. Each proves itself before it is used.
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

  seal(key: number, counter: number, input: number, output: number, length: number): void {
    const evp = this.#evp;
    const { address } = this.#scratch;
    this.#prepare(counter, output + length);
    evp.encryptInit(this.#sealing, 0, key, address + SCRATCH.nonce, 0);
    evp.encryptUpdate(this.#sealing, output, address + SCRATCH.outLength, input, length);
    evp.encryptFinal(this.#sealing, output + length, address + SCRATCH.outLength);
    evp.getParameters(this.#sealing, address + SCRATCH.parameters);
  }

  open(key: number, counter: number, input: number, output: number, length: number): boolean {
    const evp = this.#evp;
    const { address } = this.#scratch;
    this.#prepare(counter, input + length);
    evp.decryptInit(this.#opening, 0, key, address + SCRATCH.nonce, address + SCRATCH.parameters);
    evp.decryptUpdate(this.#opening, output, address + SCRATCH.outLength, input, length);
    return evp.decryptFinal(this.#opening, output + length, address + SCRATCH.outLength) === 1;
  }

  forget(): void {
    const { address } = this.#scratch;
    // With some data, so that nothing is left on the stack either.
    const data = address + SCRATCH.data;
    this.seal(address + SCRATCH.noKey, 0, data, data, SCRATCH.dataLength);
    this.open(address + SCRATCH.noKey, 0, data, data, SCRATCH.dataLength);
  }

  /** Writes the nonce, and where OpenSSL finds or leaves the tag. */
  #prepare(counter: number, tag: number): void {
    const { view } = this.#scratch;
    view.setUint32(SCRATCH.nonce + 4, counter % 0x1_0000_0000, true);
    view.setUint32(SCRATCH.nonce + 8, Math.floor(counter / 0x1_0000_0000), true);
    view.setUint32(SCRATCH.parameters + OSSL_PARAM.data, tag % 0x1_0000_0000, true);
    view.setUint32(SCRATCH.parameters + OSSL_PARAM.data + 4, Math.floor(tag / 0x1_0000_0000), true);
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

  seal(key: number, counter: number, input: number, output: number, length: number): void {
    const cipher = createCipheriv('chacha20-poly1305', bytesAt(key, AEAD.key), this.#nonceOf(counter), {
      authTagLength: AEAD.tag,
    });
    bytesAt(output, length).set(cipher.update(bytesAt(input, length)));
    cipher.final();
    bytesAt(output + length, AEAD.tag).set(cipher.getAuthTag());
  }

  open(key: number, counter: number, input: number, output: number, length: number): boolean {
    const decipher = createDecipheriv('chacha20-poly1305', bytesAt(key, AEAD.key), this.#nonceOf(counter), {
      authTagLength: AEAD.tag,
    });
    decipher.setAuthTag(bytesAt(input + length, AEAD.tag));
    bytesAt(output, length).set(decipher.update(bytesAt(input, length)));
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

/** Whether an implementation makes what node:crypto makes of the same, reads it again, and refuses a forgery. */
function passesSelfTest(aead: Aead): boolean {
  const { bytes, address } = allocate(256);
  const counter = 0x4_0000_0007; // more than 32 bits
  for (let i = 0; i < AEAD.key; i++) bytes[i] = 0x80 + i;
  const plain = new TextEncoder().encode('to be sealed, and to be opened again');
  const nonce = Buffer.alloc(AEAD.nonce);
  nonce.writeBigUInt64LE(BigInt(counter), 4);
  const reference = createCipheriv('chacha20-poly1305', bytes.subarray(0, AEAD.key), nonce, {
    authTagLength: 16,
  });
  const expected = Buffer.concat([reference.update(plain), reference.final(), reference.getAuthTag()]);

  bytes.set(plain, 64);
  aead.seal(address, counter, address + 64, address + 64, plain.length);
  const sealed = bytes.slice(64, 64 + expected.length);
  if (!timingSafeEqual(sealed, expected)) return false;
  if (!aead.open(address, counter, address + 64, address + 64, plain.length)) return false;
  if (!timingSafeEqual(bytes.subarray(64, 64 + plain.length), plain)) return false;
  sealed[3]! ^= 1;
  bytes.set(sealed, 64);
  const forged = aead.open(address, counter, address + 64, address + 64, plain.length);
  aead.forget();
  return !forged;
}
