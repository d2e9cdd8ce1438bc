import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
  randomFillSync,
  timingSafeEqual,
} from 'node:crypto';
import koffi from 'koffi';
import { allocate, type Memory } from './memory.js';

/** RFC 7748 §6.1: keys and shared secrets are 32 bytes. */
const LENGTH = 32;

/**
 * A private key of X25519. It lies in OpenSSL's memory and nowhere in ours, until `destroy`: keys of node:crypto are
 * cleared when the garbage collector finds the time, which in a daemon with little to do may be never.
 */
export interface X25519Key {
  readonly publicKey: Uint8Array;
  /**
   * DH with somebody's public key, into 32 bytes.
   *
   * @returns false, and zeros, when the result is all zeros: their key is of low order, RFC 7748 §6.1
   */
  derive(publicKey: Uint8Array, out: Uint8Array): boolean;
  /** Clears it. It is of no use after this, and is a leak without it. */
  destroy(): void;
}

export interface X25519 {
  /** Which implementation this is. */
  readonly name: string;
  /** Takes a copy of 32 bytes; the caller erases its own. */
  importKey(bytes: Uint8Array): X25519Key;
  generate(): X25519Key;
  /** Overwrites what the last DH left on the stack: OpenSSL does not, and a quiet program may not for long. */
  forget(): void;
}

/**
 * OpenSSL's EVP from the node binary, from the system's libcrypto where node links to that, else node:crypto. Each
 * proves itself before it is used.
 */
export function loadX25519(): X25519 {
  for (const make of X25519_IMPLEMENTATIONS) {
    try {
      const x25519 = make();
      if (passesSelfTest(x25519)) return x25519;
    } catch {} // not exported, not installed, or an OpenSSL that lacks the curve: the next one
  }
  throw new Error('no implementation of X25519 works on this machine');
}

/** Best first. Exported for tests, which compare them. */
export const X25519_IMPLEMENTATIONS: readonly (() => X25519)[] = [
  () => new EvpX25519(null),
  () => new EvpX25519('libcrypto.so.3'),
  () => new NodeX25519(),
];

/** openssl/obj_mac.h */
const NID_X25519 = 1034;

/** Layout of the scratch memory: a private key, a public key, a shared secret, a length. */
const SCRATCH = { privateKey: 0, publicKey: 32, secret: 64, length: 96, size: 104 } as const;

/** EVP_PKEY_new_raw_private_key(3ssl), EVP_PKEY_derive(3ssl). */
class EvpX25519 implements X25519 {
  readonly name: string;
  readonly #evp: Evp;
  readonly #scratch: Memory = allocate(SCRATCH.size);
  /** A key that is no secret. */
  #dummy: X25519Key | undefined;

  /** @param library where to look for OpenSSL; null is what the process has already */
  constructor(library: string | null) {
    this.name = `OpenSSL EVP (${library ?? 'of the node binary'})`;
    this.#evp = declareEvp(library);
  }

  importKey(bytes: Uint8Array): X25519Key {
    this.#scratch.bytes.set(bytes, SCRATCH.privateKey);
    return this.#take();
  }

  generate(): X25519Key {
    const { random } = this.#evp;
    if (random(this.#scratch.address + SCRATCH.privateKey, LENGTH) !== 1)
      throw new Error('OpenSSL has no random numbers');
    return this.#take();
  }

  /** Foreign functions have a stack of their own, so the next call of the same one lies where the last one did. */
  forget(): void {
    this.#dummy ??= this.importKey(new Uint8Array(LENGTH));
    this.#dummy.derive(BASE_POINT, NOWHERE);
  }

  /** Makes a key of what is in the scratch memory, and erases that. */
  #take(): X25519Key {
    const evp = this.#evp;
    const { bytes, view, address } = this.#scratch;
    const key = evp.newPrivateKey(NID_X25519, 0, address + SCRATCH.privateKey, LENGTH);
    bytes.fill(0, SCRATCH.privateKey, SCRATCH.privateKey + LENGTH);
    if (key === 0) throw new Error('OpenSSL takes no private keys of X25519');
    view.setBigUint64(SCRATCH.length, BigInt(LENGTH), true);
    evp.getPublicKey(key, address + SCRATCH.publicKey, address + SCRATCH.length);
    const publicKey = Uint8Array.from(bytes.subarray(SCRATCH.publicKey, SCRATCH.publicKey + LENGTH));
    return new EvpKey(evp, this.#scratch, key, publicKey);
  }
}

class EvpKey implements X25519Key {
  readonly publicKey: Uint8Array;
  readonly #evp: Evp;
  readonly #scratch: Memory;
  #key: number;
  /** An EVP_PKEY_CTX that is ready to derive; made when first needed. */
  #context = 0;

  constructor(evp: Evp, scratch: Memory, key: number, publicKey: Uint8Array) {
    this.#evp = evp;
    this.#scratch = scratch;
    this.#key = key;
    this.publicKey = publicKey;
  }

  derive(publicKey: Uint8Array, out: Uint8Array): boolean {
    if (this.#key === 0) throw new TypeError('the private key was destroyed');
    const evp = this.#evp;
    const { bytes, view, address } = this.#scratch;
    if (this.#context === 0) {
      this.#context = evp.newContext(this.#key, 0);
      evp.deriveInit(this.#context);
    }
    bytes.set(publicKey, SCRATCH.publicKey);
    const peer = evp.newPublicKey(NID_X25519, 0, address + SCRATCH.publicKey, LENGTH);
    evp.deriveSetPeer(this.#context, peer);
    view.setBigUint64(SCRATCH.length, BigInt(LENGTH), true);
    evp.derive(this.#context, address + SCRATCH.secret, address + SCRATCH.length);
    evp.freeKey(peer);
    evp.clearErrors(); // a refusal leaves one, which node:crypto would take for its own
    // OpenSSL refuses an all-zero result too: its word and ours must agree, and neither alone is relied on.
    let any = 0;
    for (let i = 0; i < LENGTH; i++) {
      const byte = bytes[SCRATCH.secret + i]!;
      out[i] = byte;
      any |= byte;
    }
    bytes.fill(0, SCRATCH.secret, SCRATCH.secret + LENGTH);
    return any !== 0;
  }

  destroy(): void {
    if (this.#context !== 0) this.#evp.freeContext(this.#context);
    if (this.#key !== 0) this.#evp.freeKey(this.#key);
    this.#context = 0;
    this.#key = 0;
  }
}

type Evp = ReturnType<typeof declareEvp>;

function declareEvp(library: string | null) {
  const lib = koffi.load(library);
  const raw = 'int type, intptr_t engine, intptr_t key, size_t length';
  type NewRaw = (type: number, engine: number, key: number, length: number) => number;
  type OfTwo = (a: number, b: number) => number;
  type OfThree = (a: number, b: number, c: number) => number;
  return {
    random: lib.func('int RAND_priv_bytes(intptr_t out, int length)') as OfTwo,
    newPrivateKey: lib.func(`intptr_t EVP_PKEY_new_raw_private_key(${raw})`) as NewRaw,
    newPublicKey: lib.func(`intptr_t EVP_PKEY_new_raw_public_key(${raw})`) as NewRaw,
    getPublicKey: lib.func(
      'int EVP_PKEY_get_raw_public_key(intptr_t key, intptr_t out, intptr_t length)',
    ) as OfThree,
    clearErrors: lib.func('void ERR_clear_error()') as () => void,
    freeKey: lib.func('void EVP_PKEY_free(intptr_t key)') as (key: number) => void,
    newContext: lib.func('intptr_t EVP_PKEY_CTX_new(intptr_t key, intptr_t engine)') as OfTwo,
    freeContext: lib.func('void EVP_PKEY_CTX_free(intptr_t context)') as (context: number) => void,
    deriveInit: lib.func('int EVP_PKEY_derive_init(intptr_t context)') as (context: number) => number,
    deriveSetPeer: lib.func('int EVP_PKEY_derive_set_peer(intptr_t context, intptr_t peer)') as OfTwo,
    derive: lib.func('int EVP_PKEY_derive(intptr_t context, intptr_t secret, intptr_t length)') as OfThree,
  };
}

/** Takes a result that nobody wants. */
const NOWHERE = new Uint8Array(LENGTH);

/** The DER of an X25519 private key up to its 32 bytes, RFC 8410 §7. */
const PRIVATE_DER = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** The base point, RFC 7748 §4.1: DH with it makes a public key. */
const BASE_POINT = new Uint8Array(LENGTH).fill(9, 0, 1);

/** node:crypto: there on every node, and clears keys when they are collected as garbage. */
class NodeX25519 implements X25519 {
  readonly name = 'node:crypto';

  /** Not by JWK: that would leave the key in a string, which nobody can erase. */
  importKey(bytes: Uint8Array): X25519Key {
    const der = Buffer.alloc(PRIVATE_DER.length + LENGTH); // not of the pool, where parts of it would stay
    der.set(PRIVATE_DER);
    der.set(bytes, PRIVATE_DER.length);
    const parse = (): KeyObject => createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    try {
      return new NodeKey(parse());
    } catch {
      return new NodeKey(parse()); // it may have met, and taken away, the error of a point of low order before
    } finally {
      der.fill(0);
    }
  }

  generate(): X25519Key {
    const bytes = new Uint8Array(new ArrayBuffer(LENGTH));
    randomFillSync(bytes);
    const key = this.importKey(bytes);
    bytes.fill(0);
    return key;
  }

  forget(): void {} // its stack is node's own, and never at rest
}

class NodeKey implements X25519Key {
  readonly publicKey = new Uint8Array(LENGTH);
  #key: KeyObject | undefined;

  constructor(key: KeyObject) {
    this.#key = key;
    this.derive(BASE_POINT, this.publicKey);
  }

  derive(publicKey: Uint8Array, out: Uint8Array): boolean {
    if (!this.#key) throw new TypeError('the private key was destroyed');
    const x = Buffer.from(publicKey).toString('base64url');
    let secret: Buffer;
    try {
      const peer = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' });
      secret = diffieHellman({ privateKey: this.#key, publicKey: peer });
    } catch {
      out.fill(0); // OpenSSL refuses an all-zero result itself
      return false;
    }
    out.set(secret);
    secret.fill(0);
    return out.some((byte) => byte !== 0);
  }

  destroy(): void {
    this.#key = undefined;
  }
}

/** Whether an implementation makes what node:crypto makes of the same, and refuses a point of low order. */
function passesSelfTest(x25519: X25519): boolean {
  const mine = Uint8Array.from({ length: LENGTH }, (_, i) => 0x40 + i);
  const theirs = Uint8Array.from({ length: LENGTH }, (_, i) => 0x70 - i);
  const secret = new Uint8Array(LENGTH);
  const key = x25519.importKey(mine);
  const other = x25519.importKey(theirs);
  const reference = new NodeX25519().importKey(mine);
  const expected = new Uint8Array(LENGTH);
  const passes =
    reference.derive(other.publicKey, expected) &&
    key.derive(other.publicKey, secret) &&
    timingSafeEqual(secret, expected) &&
    timingSafeEqual(key.publicKey, reference.publicKey) &&
    !key.derive(new Uint8Array(LENGTH), secret);
  for (const each of [key, other, reference]) each.destroy();
  return passes;
}
