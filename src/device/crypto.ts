import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomFillSync,
  timingSafeEqual,
} from 'node:crypto';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import type { Crypto, PrivateKey, PublicKey } from '../wireguard/crypto.js';
import { LENGTH } from '../wireguard/crypto.js';
import { blake2s, kdf } from './blake2s.js';

/** The DER of an X25519 private key up to its 32 bytes, RFC 8410 §7. */
const PRIVATE_DER = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** The base point, RFC 7748 §4.1: DH with it makes a public key. */
const BASE_POINT = new Uint8Array(LENGTH.key).fill(9, 0, 1);

class NodePublicKey implements PublicKey {
  readonly kind = 'public';
  readonly bytes: Uint8Array;
  #object: KeyObject | undefined;

  constructor(bytes: Uint8Array, object?: KeyObject) {
    this.bytes = bytes;
    this.#object = object;
  }

  /** Made when first needed: most of ten thousand peers may never speak. A JWK is 12 times faster than DER. */
  get object(): KeyObject {
    this.#object ??= createPublicKey({
      key: { kty: 'OKP', crv: 'X25519', x: Buffer.from(this.bytes).toString('base64url') },
      format: 'jwk',
    });
    return this.#object;
  }
}

class NodePrivateKey implements PrivateKey {
  readonly kind = 'private';
  readonly publicKey: NodePublicKey;
  #object: KeyObject | undefined;

  constructor(object: KeyObject, publicKey: NodePublicKey) {
    this.#object = object;
    this.publicKey = publicKey;
  }

  get object(): KeyObject {
    if (!this.#object) throw new TypeError('the private key was destroyed');
    return this.#object;
  }

  destroy(): void {
    this.#object = undefined; // OpenSSL clears the key's memory when the object is collected
  }
}

/** [W] 5.4: X25519 and ChaCha20-Poly1305 by OpenSSL, BLAKE2s by ourselves, XChaCha20-Poly1305 by noble. */
export class NodeCrypto implements Crypto {
  readonly #basePoint = new NodePublicKey(BASE_POINT);
  readonly #nonce = new Uint8Array(12);
  readonly #nonceView = new DataView(this.#nonce.buffer);

  publicKey(bytes: Uint8Array): NodePublicKey {
    return new NodePublicKey(Uint8Array.from(bytes));
  }

  /** Not by JWK: that would leave the key in a string, which nobody can erase. */
  privateKey(bytes: Uint8Array): NodePrivateKey {
    const der = Buffer.concat([PRIVATE_DER, bytes]);
    const object = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    der.fill(0);
    return this.#privateKeyOf(object);
  }

  generate(): NodePrivateKey {
    // Not exported from the pair's public object: as DER that is slower than a DH, and as JWK Node 20 hangs.
    return this.#privateKeyOf(generateKeyPairSync('x25519').privateKey);
  }

  dh(privateKey: PrivateKey, publicKey: PublicKey, out: Uint8Array): boolean {
    let secret: Buffer;
    try {
      secret = diffieHellman({
        privateKey: (privateKey as NodePrivateKey).object,
        publicKey: (publicKey as NodePublicKey).object,
      });
    } catch {
      out.fill(0); // OpenSSL refuses an all-zero result itself
      return false;
    }
    out.set(secret);
    secret.fill(0);
    return out.some((byte) => byte !== 0);
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

  #privateKeyOf(object: KeyObject): NodePrivateKey {
    const bytes = diffieHellman({ privateKey: object, publicKey: this.#basePoint.object });
    return new NodePrivateKey(object, new NodePublicKey(Uint8Array.from(bytes)));
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
