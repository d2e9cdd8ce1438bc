import { randomFillSync, timingSafeEqual } from 'node:crypto';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import type { Crypto, PrivateKey, PublicKey } from '../wireguard/crypto.js';
import { LENGTH } from '../wireguard/crypto.js';
import { blake2s, kdf } from './blake2s.js';
import { FieldSealer } from './field-sealer.js';
import { loadX25519, type X25519, type X25519Key } from './x25519.js';

class DevicePrivateKey implements PrivateKey {
  readonly kind = 'private';
  readonly publicKey: PublicKey;
  readonly key: X25519Key;

  constructor(key: X25519Key, publicKey: Uint8Array) {
    this.key = key;
    this.publicKey = { kind: 'public', bytes: publicKey };
  }

  destroy(): void {
    this.key.destroy();
  }
}

/** The cryptography of [W] 5.4: X25519 and ChaCha20-Poly1305 by OpenSSL, BLAKE2s in this room, XChaCha20-Poly1305 by noble. */
export class NodeCrypto implements Crypto {
  readonly #x25519: X25519 = loadX25519();
  readonly #fields = new FieldSealer();
  #forgetting: NodeJS.Immediate | undefined;
  /** Runs once for all handshakes of a turn of the event loop: it costs as much as a DH. */
  readonly #forget = (): void => {
    this.#forgetting = undefined;
    this.#x25519.forget();
    this.#fields.forget();
  };
  /** A store of random bytes: four at a time cost as much as hundreds. */
  readonly #store = new Uint8Array(512);
  #used = this.#store.length;
  readonly #nonce = new Uint8Array(12);
  readonly #nonceView = new DataView(this.#nonce.buffer);

  publicKey(bytes: Uint8Array): PublicKey {
    return { kind: 'public', bytes: Uint8Array.from(bytes) };
  }

  privateKey(bytes: Uint8Array): PrivateKey {
    const publicKey = new Uint8Array(LENGTH.key);
    return new DevicePrivateKey(this.#x25519.load(bytes, publicKey), publicKey);
  }

  generate(): PrivateKey {
    const publicKey = new Uint8Array(LENGTH.key);
    return new DevicePrivateKey(this.#x25519.generate(publicKey), publicKey);
  }

  dh(privateKey: PrivateKey, publicKey: PublicKey, out: Uint8Array): boolean {
    this.#forgetSoon();
    return this.#x25519.derive((privateKey as DevicePrivateKey).key, publicKey.bytes, out);
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
    this.#forgetSoon();
    this.#fields.seal(key, this.#nonceOf(counter), plaintext, data, out);
  }

  open(key: Uint8Array, counter: number, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    this.#forgetSoon();
    return this.#fields.open(key, this.#nonceOf(counter), sealed, data, out);
  }

  xseal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    out.set(xchacha20poly1305(key, nonce, data).encrypt(plaintext));
  }

  xopen(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    const cipher = xchacha20poly1305(key, nonce, data);
    try {
      out.set(cipher.decrypt(sealed));
      return true;
    } catch {
      return false;
    }
  }

  random(out: Uint8Array): void {
    if (out.length > SMALL) {
      randomFillSync(out);
      return;
    }
    if (this.#used + out.length > this.#store.length) {
      randomFillSync(this.#store);
      this.#used = 0;
    }
    for (let i = 0; i < out.length; i++) out[i] = this.#store[this.#used++]!;
  }

  equal(a: Uint8Array, b: Uint8Array): boolean {
    return a.length === b.length && timingSafeEqual(a, b);
  }

  #forgetSoon(): void {
    this.#forgetting ??= setImmediate(this.#forget);
  }

  /** [W] 5.4: 32 zero bits, then the counter as a little-endian u64. */
  #nonceOf(counter: number): Uint8Array {
    this.#nonceView.setUint32(4, counter >>> 0, true);
    this.#nonceView.setUint32(8, Math.floor(counter / 2 ** 32), true);
    return this.#nonce;
  }
}

/** Enough for an index or a jitter. Longer ones may be secrets, and are never in the store. */
const SMALL = 8;
