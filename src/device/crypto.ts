import { createCipheriv, createDecipheriv, randomFillSync, timingSafeEqual } from 'node:crypto';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { loadX25519, type X25519Key } from '../linux/x25519.js';
import type { Crypto, PrivateKey, PublicKey } from '../wireguard/crypto.js';
import { LENGTH } from '../wireguard/crypto.js';
import { blake2s, kdf } from './blake2s.js';

class OwnKey implements PrivateKey {
  readonly kind = 'private';
  readonly publicKey: PublicKey;
  readonly key: X25519Key;

  constructor(key: X25519Key) {
    this.key = key;
    this.publicKey = { kind: 'public', bytes: key.publicKey };
  }

  destroy(): void {
    this.key.destroy();
  }
}

/** [W] 5.4: X25519 and ChaCha20-Poly1305 by OpenSSL, BLAKE2s by ourselves, XChaCha20-Poly1305 by noble. */
export class NodeCrypto implements Crypto {
  readonly #x25519 = loadX25519();
  #forgetting: NodeJS.Immediate | undefined;
  /** Once for all DHs of a turn of the event loop: it costs as much as one of them. */
  readonly #forget = (): void => {
    this.#forgetting = undefined;
    this.#x25519.forget();
  };
  readonly #nonce = new Uint8Array(12);
  readonly #nonceView = new DataView(this.#nonce.buffer);

  publicKey(bytes: Uint8Array): PublicKey {
    return { kind: 'public', bytes: Uint8Array.from(bytes) };
  }

  privateKey(bytes: Uint8Array): OwnKey {
    return new OwnKey(this.#x25519.importKey(bytes));
  }

  generate(): OwnKey {
    return new OwnKey(this.#x25519.generate());
  }

  dh(privateKey: PrivateKey, publicKey: PublicKey, out: Uint8Array): boolean {
    this.#forgetting ??= setImmediate(this.#forget);
    return (privateKey as OwnKey).key.derive(publicKey.bytes, out);
  }

  hash(a: Uint8Array, b: Uint8Array, out: Uint8Array): void {
    blake2s([a, b], out);
  }

  mac(key: Uint8Array, input: Uint8Array, out: Uint8Array): void {
    blake2s([input], out, LENGTH.mac, key);
  }

  kdf(key: Uint8Array, input: Uint8Array, out1: Uint8Array, out2?: Uint8Array, out3?: Uint8Array): void {
    kdf(key, input, out1, out2, out3);
  }

  seal(key: Uint8Array, counter: number, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    sealWithNonce(key, this.#nonceOf(counter), plaintext, data, out);
  }

  open(key: Uint8Array, counter: number, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    return openWithNonce(key, this.#nonceOf(counter), sealed, data, out);
  }

  xseal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    out.set(xchacha20poly1305(key, nonce, data).encrypt(plaintext));
  }

  xopen(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    try {
      out.set(xchacha20poly1305(key, nonce, data).decrypt(sealed));
      return true;
    } catch {
      return false;
    }
  }

  random(out: Uint8Array): void {
    randomFillSync(out);
  }

  equal(a: Uint8Array, b: Uint8Array): boolean {
    return a.length === b.length && timingSafeEqual(a, b);
  }

  /** [W] 5.4: 32 zero bits, then the counter as a little-endian u64. */
  #nonceOf(counter: number): Uint8Array {
    this.#nonceView.setUint32(4, counter >>> 0, true);
    this.#nonceView.setUint32(8, Math.floor(counter / 2 ** 32), true);
    return this.#nonce;
  }
}

/** ChaCha20-Poly1305, RFC 8439 §2.8. */
export function sealWithNonce(
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  data: Uint8Array,
  out: Uint8Array,
): void {
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, AEAD);
  cipher.setAAD(data, { plaintextLength: plaintext.length });
  out.set(cipher.update(plaintext));
  cipher.final();
  out.set(cipher.getAuthTag(), plaintext.length);
}

/** Reverses `sealWithNonce`. False, and zeros, when the tag is wrong. */
export function openWithNonce(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  data: Uint8Array,
  out: Uint8Array,
): boolean {
  const length = sealed.length - LENGTH.tag;
  if (length < 0) return false;
  const decipher = createDecipheriv('chacha20-poly1305', key, nonce, AEAD);
  decipher.setAuthTag(sealed.subarray(length));
  decipher.setAAD(data, { plaintextLength: length });
  out.set(decipher.update(sealed.subarray(0, length)));
  try {
    decipher.final();
    return true;
  } catch {
    out.fill(0);
    return false;
  }
}

const AEAD = { authTagLength: LENGTH.tag } as const;
