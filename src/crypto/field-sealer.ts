import { allocate } from '../linux/ffi/memory.js';
import { loadChaCha20Poly1305, openWithNode, sealWithNode } from './chacha20-poly1305.js';
import { AEAD, type ChaCha20Poly1305, PARAMETERS } from './chacha20-poly1305-contract.js';

/** Longer texts and data go to node:crypto. A relay frame in a channel fits. */
const ROOM = PARAMETERS.maxData;
/** Up to this length a loop is faster than a call that copies. */
const SHORT = 128;

/** Layout of the memory: a key, and two texts with room around them. */
const MEMORY = {
  key: 0,
  input: 128,
  output: 128 + ROOM + 128,
  size: 128 + 2 * (ROOM + 128),
} as const;

/**
 * ChaCha20-Poly1305 with associated data, RFC 8439 §2.8, for short texts in JavaScript's memory: the fields of handshake
 * messages, and most messages of a channel. One thread, one instance.
 *
 * The key and the plaintext are wiped from its memory after each call. What OpenSSL keeps of the key is wiped by `forget`.
 */
export class FieldSealer {
  readonly #cipher: ChaCha20Poly1305;
  readonly #memory = allocate(MEMORY.size);

  constructor(cipher: ChaCha20Poly1305 = loadChaCha20Poly1305()) {
    this.#cipher = cipher;
  }

  /** Writes the ciphertext and the tag. `out` may be the plaintext's memory. @param nonce 12 bytes */
  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    expectNonce(nonce);
    const { length } = plaintext;
    if (Math.max(length, data.length) > ROOM) {
      sealWithNode(key, nonce, plaintext, data, out);
      return;
    }
    const memory = this.#memory;
    const { input, output } = MEMORY;
    this.#prepare(key, nonce, plaintext, data);
    this.#cipher.seal(memory.address, data.length, memory, input, memory, output, length);
    copyOut(memory.bytes, output, out, length + AEAD.tag);
    this.#wipe(input, length);
  }

  /** `out` may be the ciphertext's memory. @returns whether the tag is right; if not, zeros are written */
  open(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    expectNonce(nonce);
    const length = sealed.length - AEAD.tag;
    if (length < 0) return false;
    let isRight: boolean;
    if (Math.max(length, data.length) > ROOM) {
      isRight = openWithNode(key, nonce, sealed, data, out);
    } else {
      const memory = this.#memory;
      const { input, output } = MEMORY;
      this.#prepare(key, nonce, sealed, data);
      isRight = this.#cipher.open(memory.address, data.length, memory, input, memory, output, length);
      if (isRight) copyOut(memory.bytes, output, out, length);
      this.#wipe(output, length);
    }
    if (!isRight) out.fill(0, 0, length);
    return isRight;
  }

  /** Overwrites what the last calls left in OpenSSL's memory and on the stack. */
  forget(): void {
    this.#cipher.forget();
  }

  #prepare(key: Uint8Array, nonce: Uint8Array, text: Uint8Array, data: Uint8Array): void {
    const { bytes } = this.#memory;
    const { bytes: parameters } = this.#cipher.parameters;
    copyIn(key, bytes, MEMORY.key);
    copyIn(text, bytes, MEMORY.input);
    copyIn(nonce, parameters, PARAMETERS.nonce);
    copyIn(data, parameters, PARAMETERS.data);
  }

  /** Wipes the key, a plaintext, and Poly1305's key, which may be in front of it. */
  #wipe(plaintext: number, plaintextLength: number): void {
    const { bytes } = this.#memory;
    const at = plaintext - AEAD.before;
    const length = AEAD.before + plaintextLength;
    for (let i = 0; i < AEAD.key; i++) bytes[MEMORY.key + i] = 0;
    if (length > SHORT) bytes.fill(0, at, at + length);
    else for (let i = 0; i < length; i++) bytes[at + i] = 0;
  }
}

/** @throws RangeError where node:crypto would pad it */
function expectNonce(nonce: Uint8Array): void {
  if (nonce.length !== AEAD.nonce)
    throw new RangeError(`a nonce has ${AEAD.nonce} bytes, not ${nonce.length}`);
}

function copyIn(from: Uint8Array, to: Uint8Array, at: number): void {
  if (from.length > SHORT) to.set(from, at);
  else for (let i = 0; i < from.length; i++) to[at + i] = from[i]!;
}

function copyOut(from: Uint8Array, at: number, to: Uint8Array, length: number): void {
  if (length > SHORT) to.set(from.subarray(at, at + length));
  else for (let i = 0; i < length; i++) to[i] = from[at + i]!;
}
