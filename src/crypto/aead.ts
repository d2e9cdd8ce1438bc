import { type Memory, writeUint64 } from '../linux/ffi/memory.js';
import { loadChaCha20Poly1305 } from './chacha20-poly1305.js';
import { AEAD, type ChaCha20Poly1305, PARAMETERS } from './chacha20-poly1305-contract.js';

export { AEAD };

/** @param openssl whether OpenSSL may be called directly */
export const loadAead = (openssl = true): Aead => new Aead(loadChaCha20Poly1305(openssl));

/**
 * ChaCha20-Poly1305 as WireGuard's transport uses it, [W] 5.4.6: the nonce is 32 zero bits and a counter, below 2^53 here,
 * and there is no associated data. `ChaCha20Poly1305` says what may happen to the memory around a message.
 */
export class Aead {
  readonly name: string;
  readonly #cipher: ChaCha20Poly1305;

  constructor(cipher: ChaCha20Poly1305) {
    this.name = cipher.name;
    this.#cipher = cipher;
  }

  /** See `ChaCha20Poly1305.seal`. */
  seal(
    key: number,
    counter: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): void {
    this.#setNonce(counter);
    this.#cipher.seal(key, 0, from, at, to, out, length);
  }

  /** See `ChaCha20Poly1305.open`. */
  open(
    key: number,
    counter: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): boolean {
    this.#setNonce(counter);
    return this.#cipher.open(key, 0, from, at, to, out, length);
  }

  /** Wipes what is left of the last key. */
  forget(): void {
    this.#cipher.forget();
  }

  #setNonce(counter: number): void {
    const { view } = this.#cipher.parameters;
    view.setUint32(PARAMETERS.nonce, 0);
    writeUint64(view, PARAMETERS.nonce + 4, counter);
  }
}
