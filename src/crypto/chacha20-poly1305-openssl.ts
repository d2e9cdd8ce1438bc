import { functionsOf } from '../linux/ffi/libc.js';
import { allocate, type Memory } from '../linux/ffi/memory.js';
import { AEAD, type ChaCha20Poly1305, PARAMETERS } from './chacha20-poly1305-contract.js';

/** OpenSSL's ChaCha20 and Poly1305. All arguments are addresses and lengths. */
export interface Primitives {
  readonly name: string;
  /** Encrypts or decrypts. `counter` is the address of the block counter and the nonce behind it, RFC 8439 §2.3. */
  chacha20(out: number, input: number, length: number, key: number, counter: number): void;
  /** Starts a tag. */
  begin(key: number): void;
  update(input: number, length: number): void;
  /** Writes the tag. */
  finish(tag: number): void;
}

/** A constant of its own, for loops. */
const BEFORE = 64 satisfies typeof AEAD.before;

/** Layout of the scratch memory. */
const SCRATCH = { tag: 0, noKey: 32, data: 1024, dataLength: 1024, size: 3072 } as const;

/**
 * OpenSSL's ChaCha20 and Poly1305, put together here by RFC 8439 §2.8.
 *
 * EVP's own ChaCha20-Poly1305 is slower, up to three times. It hands Poly1305 the last blocks one by one; with AVX-512
 * such short inputs leave the upper halves of the vector registers in use, and then every change between SSE and AVX
 * code costs some processors 100 ns, twice in each call from JavaScript. docs/PERFORMANCE.md has the figures.
 *
 * So Poly1305 gets ciphertext, padding and lengths in one piece: they are written where the tag is to be, or was. Its
 * key is the cipher's first block, and comes from the same call that encrypts: 64 zeros are put in front of the input.
 */
export class ComposedChaCha20Poly1305 implements ChaCha20Poly1305 {
  readonly name: string;
  readonly parameters: Memory = allocate(PARAMETERS.size);
  readonly #primitives: Primitives;
  readonly #scratch: Memory = allocate(SCRATCH.size);
  /** What was in front of the output. */
  readonly #kept = new Int32Array(BEFORE / 4);

  constructor(primitives: Primitives) {
    this.name = primitives.name;
    this.#primitives = primitives;
  }

  seal(
    key: number,
    dataLength: number,
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
    this.#crypt(key, from, at, to, out, length);
    this.#authenticate(to.address + inFront, dataLength, to, out, length, to.address + out + length);
    for (let i = 0; i < BEFORE; i += 4) view.setInt32(inFront + i, kept[i >> 2]!, true);
  }

  open(
    key: number,
    dataLength: number,
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
    const { view: tag, address } = this.#scratch;
    this.#crypt(key, from, at, to, out, length);
    this.#authenticate(to.address + out - BEFORE, dataLength, from, at, length, address + SCRATCH.tag);
    view.setInt32(behind, behind0, true);
    view.setInt32(behind + 4, behind1, true);
    view.setInt32(behind + 8, behind2, true);
    view.setInt32(behind + 12, behind3, true);
    // All four words are compared, so the time does not tell where they differ.
    const difference =
      (tag0 ^ tag.getInt32(SCRATCH.tag, true)) |
      (tag1 ^ tag.getInt32(SCRATCH.tag + 4, true)) |
      (tag2 ^ tag.getInt32(SCRATCH.tag + 8, true)) |
      (tag3 ^ tag.getInt32(SCRATCH.tag + 12, true));
    return difference === 0;
  }

  forget(): void {
    const scratch = this.#scratch;
    const { data, dataLength } = SCRATCH;
    // With some data, so that nothing is left on the stack either.
    this.seal(scratch.address + SCRATCH.noKey, 0, scratch, data, scratch, data, dataLength);
    this.#kept.fill(0);
  }

  /** Leaves the cipher's first block in front of the output: Poly1305's key, RFC 8439 §2.6. */
  #crypt(key: number, from: Memory, at: number, to: Memory, out: number, length: number): void {
    const input = at - BEFORE;
    const { view } = from;
    // Eight words, one by one: this is the hottest place of all.
    view.setFloat64(input, 0);
    view.setFloat64(input + 8, 0);
    view.setFloat64(input + 16, 0);
    view.setFloat64(input + 24, 0);
    view.setFloat64(input + 32, 0);
    view.setFloat64(input + 40, 0);
    view.setFloat64(input + 48, 0);
    view.setFloat64(input + 56, 0);
    this.#primitives.chacha20(
      to.address + out - BEFORE,
      from.address + input,
      BEFORE + length,
      key,
      this.parameters.address + PARAMETERS.blockCounter,
    );
  }

  /**
   * Makes the tag of a ciphertext, RFC 8439 §2.8. The bytes behind the ciphertext are overwritten.
   *
   * @param key address of Poly1305's key
   * @param tag address for the result
   */
  #authenticate(
    key: number,
    dataLength: number,
    memory: Memory,
    at: number,
    length: number,
    tag: number,
  ): void {
    const { view } = memory;
    const end = at + length;
    view.setFloat64(end, 0);
    view.setFloat64(end + 8, 0);
    const padded = (length + 15) & ~15;
    view.setInt32(at + padded, dataLength, true);
    view.setInt32(at + padded + 4, 0);
    view.setInt32(at + padded + 8, length, true);
    view.setInt32(at + padded + 12, 0);
    const primitives = this.#primitives;
    primitives.begin(key);
    if (dataLength > 0) this.#updateData(dataLength);
    primitives.update(memory.address + at, padded + AEAD.tag);
    primitives.finish(tag);
  }

  #updateData(length: number): void {
    const { bytes, address } = this.parameters;
    const padded = (length + 15) & ~15;
    for (let i = length; i < padded; i++) bytes[PARAMETERS.data + i] = 0;
    this.#primitives.update(address + PARAMETERS.data, padded);
  }
}

/** The most that Poly1305's state may need; OpenSSL says how much it does. */
const STATE_ROOM = 512;

/** The functions themselves, include/crypto/chacha.h and poly1305.h of OpenSSL 1.1 to 3. The node binary exports them. */
export class DirectPrimitives implements Primitives {
  readonly name = 'OpenSSL primitives (of the node binary)';
  readonly #functions = declareFunctions();
  readonly #state = allocate(STATE_ROOM);

  chacha20(out: number, input: number, length: number, key: number, counter: number): void {
    this.#functions.chacha20(out, input, length, key, counter);
  }

  begin(key: number): void {
    this.#functions.begin(this.#state.address, key);
  }

  update(input: number, length: number): void {
    this.#functions.update(this.#state.address, input, length);
  }

  finish(tag: number): void {
    this.#functions.finish(this.#state.address, tag);
  }
}

/** @throws where they are not exported */
function declareFunctions() {
  const declare = functionsOf(null)<number[]>;
  if (declare('size_t Poly1305_ctx_size()')() > STATE_ROOM) throw new Error('unknown Poly1305 state');
  return {
    chacha20: declare(
      'void ChaCha20_ctr32(intptr_t out, intptr_t input, size_t length, intptr_t key, intptr_t counter)',
    ),
    begin: declare('void Poly1305_Init(intptr_t state, intptr_t key)'),
    update: declare('void Poly1305_Update(intptr_t state, intptr_t input, size_t length)'),
    finish: declare('void Poly1305_Final(intptr_t state, intptr_t tag)'),
  };
}

/** Layout of the memory for the lengths that EVP writes, and for the key before the first one. */
const EVP = { length: 0, noKey: 32, size: 64 } as const;

/** The same through OpenSSL's documented interface: EVP_CIPHER-CHACHA(7ssl) and EVP_MAC-Poly1305(7ssl). */
export class EvpPrimitives implements Primitives {
  readonly name: string;
  readonly #evp;
  readonly #memory = allocate(EVP.size);
  readonly #cipher: number;
  readonly #mac: number;

  /**
   * @param library where to look for OpenSSL; null is what the process has already
   * @throws where there is none, or it lacks one of the two
   */
  constructor(library: string | null) {
    this.name = `OpenSSL EVP (${library ?? 'of the node binary'})`;
    const evp = declareEvp(library);
    this.#evp = evp;
    const cipher = evp.fetchCipher('ChaCha20');
    const mac = evp.fetchMac('POLY1305');
    if (cipher === 0 || mac === 0) throw new Error('this OpenSSL lacks ChaCha20 or Poly1305');
    this.#cipher = evp.newCipherContext();
    this.#mac = evp.newMacContext(mac);
    const noKey = this.#memory.address + EVP.noKey;
    expectSuccess(evp.initCipher(this.#cipher, cipher, noKey, noKey, 0));
  }

  chacha20(out: number, input: number, length: number, key: number, counter: number): void {
    expectSuccess(this.#evp.initCipher(this.#cipher, 0, key, counter, 0));
    expectSuccess(this.#evp.encrypt(this.#cipher, out, this.#memory.address + EVP.length, input, length));
  }

  begin(key: number): void {
    expectSuccess(this.#evp.initMac(this.#mac, key, AEAD.key, 0));
  }

  update(input: number, length: number): void {
    expectSuccess(this.#evp.updateMac(this.#mac, input, length));
  }

  finish(tag: number): void {
    expectSuccess(this.#evp.finishMac(this.#mac, tag, this.#memory.address + EVP.length, AEAD.tag));
  }
}

function expectSuccess(result: number): void {
  if (result !== 1) throw new Error('OpenSSL refused to encrypt or to make a tag');
}

function declareEvp(library: string | null) {
  const declareAny = functionsOf(library);
  const declare = declareAny<number[]>;
  const fetch = (kind: string) => {
    const prototype = `intptr_t EVP_${kind}_fetch(intptr_t library, const char *name, intptr_t properties)`;
    const call = declareAny<[library: number, name: string, properties: number]>(prototype);
    return (name: string) => call(0, name, 0);
  };
  return {
    fetchCipher: fetch('CIPHER'),
    fetchMac: fetch('MAC'),
    newCipherContext: declare('intptr_t EVP_CIPHER_CTX_new()'),
    newMacContext: declare('intptr_t EVP_MAC_CTX_new(intptr_t mac)'),
    initCipher: declare(
      'int EVP_EncryptInit_ex2(intptr_t context, intptr_t cipher, intptr_t key, intptr_t iv, intptr_t parameters)',
    ),
    encrypt: declare(
      'int EVP_EncryptUpdate(intptr_t context, intptr_t out, intptr_t outLength, intptr_t input, int length)',
    ),
    initMac: declare('int EVP_MAC_init(intptr_t context, intptr_t key, size_t length, intptr_t parameters)'),
    updateMac: declare('int EVP_MAC_update(intptr_t context, intptr_t input, size_t length)'),
    finishMac: declare('int EVP_MAC_final(intptr_t context, intptr_t tag, intptr_t length, size_t room)'),
  };
}
