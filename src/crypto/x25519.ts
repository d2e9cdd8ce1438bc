import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { functionsOf } from '../linux/ffi/libc.js';
import { allocate } from '../linux/ffi/memory.js';
import { sharedLibcrypto } from './shared-libcrypto.js';

/** RFC 7748 §5: private and public keys, and shared secrets. */
const KEY = 32;

/** A private key. Only OpenSSL has its bytes. */
export interface X25519Key {
  /** Erases the private bytes; the key is of no use after this. */
  destroy(): void;
}

/** X25519, RFC 7748. One thread, one instance. */
export interface X25519 {
  /** Which implementation this is, for a log. */
  readonly name: string;
  /** Makes a key. @param publicKey where its public half is written */
  generate(publicKey: Uint8Array): X25519Key;
  /** Takes a copy of 32 private bytes. @param publicKey where the public half is written */
  load(bytes: Uint8Array, publicKey: Uint8Array): X25519Key;
  /**
   * Writes the shared secret.
   *
   * @returns false, and zeros, when that is all zeros: the public key is of low order
   */
  derive(key: X25519Key, publicKey: Uint8Array, secret: Uint8Array): boolean;
  /** Overwrites what the last derivation left on the stack. OpenSSL does not, and an idle program leaves it there. */
  forget(): void;
}

/**
 * Loads the fastest implementation that works here and passes the self-test: OpenSSL's EVP from the node binary, or from
 * the system's libcrypto if node links to that, else node:crypto.
 */
export function loadX25519(): X25519 {
  for (const make of X25519_IMPLEMENTATIONS) {
    try {
      const x25519 = make();
      if (passesSelfTest(x25519)) return x25519;
    } catch {} // not exported, not installed, or switched off: the next one
  }
  throw new Error('no implementation of X25519 works on this machine');
}

/** Best first. Exported for tests, which compare them. */
export const X25519_IMPLEMENTATIONS: readonly (() => X25519)[] = [
  () => new EvpX25519(null),
  () => new EvpX25519(sharedLibcrypto()),
  () => new NodeX25519(),
];

/** openssl/obj_mac.h */
const NID_X25519 = 1034;

/** Layout of the scratch memory of `EvpX25519`. */
const SCRATCH = { key: 0, secret: 32, length: 64, pointer: 72, size: 80 } as const;

/**
 * OpenSSL's EVP_PKEY, EVP_PKEY_derive(3ssl). A handshake takes half of node:crypto's time, which creates and collects
 * objects. Freeing a key overwrites it.
 */
class EvpX25519 implements X25519 {
  readonly name: string;
  readonly #evp;
  readonly #scratch = allocate(SCRATCH.size);
  readonly #generator: number;
  /** The public key of the next derivation. One for all of them: making one takes a tenth of a derivation. */
  readonly #remote: number;
  /** A key that is no secret. */
  #dummy: X25519Key | undefined;
  /** Whether the stack may hold a secret. */
  #leftovers = false;

  /** @param library where to look for OpenSSL; null is what the process has already */
  constructor(library: string | null) {
    this.name = `OpenSSL EVP (${library ?? 'of the node binary'})`;
    this.#evp = declareEvp(library);
    this.#generator = this.#evp.newContextOf(NID_X25519, 0);
    if (this.#generator === 0 || this.#evp.generateInit(this.#generator) !== 1) {
      throw new Error('this OpenSSL has no X25519');
    }
    this.#scratch.bytes.set(BASE_POINT, SCRATCH.key);
    this.#remote = this.#evp.newPublic(NID_X25519, 0, this.#scratch.address + SCRATCH.key, KEY);
  }

  generate(publicKey: Uint8Array): X25519Key {
    const { view, address } = this.#scratch;
    view.setBigUint64(SCRATCH.pointer, 0n, true);
    const done = this.#evp.generate(this.#generator, address + SCRATCH.pointer);
    return this.#keyOf(done === 1 ? Number(view.getBigUint64(SCRATCH.pointer, true)) : 0, publicKey);
  }

  load(bytes: Uint8Array, publicKey: Uint8Array): X25519Key {
    const scratch = this.#scratch;
    scratch.bytes.set(bytes.subarray(0, KEY), SCRATCH.key);
    const key = this.#evp.newPrivate(NID_X25519, 0, scratch.address + SCRATCH.key, KEY);
    scratch.bytes.fill(0, SCRATCH.key, SCRATCH.key + KEY);
    return this.#keyOf(key, publicKey);
  }

  derive(key: X25519Key, publicKey: Uint8Array, secret: Uint8Array): boolean {
    const evp = this.#evp;
    const { bytes, view, address } = this.#scratch;
    for (let i = 0; i < KEY; i++) bytes[SCRATCH.key + i] = publicKey[i]!;
    view.setUint32(SCRATCH.length, KEY, true);
    const context = (key as EvpKey).context;
    this.#leftovers = true;
    const derived =
      evp.setPublic(this.#remote, address + SCRATCH.key, KEY) === 1 &&
      evp.setRemote(context, this.#remote, NO_VALIDATION) === 1 &&
      evp.derive(context, address + SCRATCH.secret, address + SCRATCH.length) === 1;
    let any = 0;
    for (let i = 0; i < KEY; i++) {
      const byte = derived ? bytes[SCRATCH.secret + i]! : 0;
      secret[i] = byte;
      any |= byte;
      bytes[SCRATCH.secret + i] = 0;
    }
    if (!derived) evp.clearErrors(); // else node:crypto would report them
    return any !== 0;
  }

  /** Foreign functions have a stack of their own, so a call overwrites the stack of the same call before. */
  forget(): void {
    if (!this.#leftovers) return;
    this.#dummy ??= this.load(new Uint8Array(KEY), new Uint8Array(KEY));
    this.derive(this.#dummy, BASE_POINT, NOWHERE);
    this.#leftovers = false;
  }

  #keyOf(key: number, publicKey: Uint8Array): EvpKey {
    const evp = this.#evp;
    const { bytes, view, address } = this.#scratch;
    view.setUint32(SCRATCH.length, KEY, true);
    const context = key === 0 ? 0 : evp.newContext(key, 0);
    this.#leftovers = true;
    if (
      context === 0 ||
      evp.deriveInit(context) !== 1 ||
      evp.publicKeyOf(key, address + SCRATCH.key, address + SCRATCH.length) !== 1
    ) {
      evp.freeContext(context);
      evp.freeKey(key);
      evp.clearErrors();
      throw new Error('OpenSSL made no X25519 key');
    }
    for (let i = 0; i < KEY; i++) publicKey[i] = bytes[SCRATCH.key + i]!;
    return new EvpKey(evp, key, context);
  }
}

/** For a result that is not used. */
const NOWHERE = new Uint8Array(KEY);

/** X25519 needs none: any 32 bytes are a public key. */
const NO_VALIDATION = 0;

class EvpKey implements X25519Key {
  readonly #evp: Evp;
  #key: number;
  #context: number;

  constructor(evp: Evp, key: number, context: number) {
    this.#evp = evp;
    this.#key = key;
    this.#context = context;
  }

  get context(): number {
    if (this.#context === 0) throw new TypeError('the private key was destroyed');
    return this.#context;
  }

  destroy(): void {
    this.#evp.freeContext(this.#context);
    this.#evp.freeKey(this.#key); // the last reference: OPENSSL_secure_clear_free, crypto/ec/ecx_key.c
    this.#context = this.#key = 0;
  }
}

type Evp = ReturnType<typeof declareEvp>;

function declareEvp(library: string | null) {
  const declare = functionsOf(library)<number[]>;
  const raw = 'int type, intptr_t engine, intptr_t bytes, size_t length';
  return {
    newPrivate: declare(`intptr_t EVP_PKEY_new_raw_private_key(${raw})`),
    newPublic: declare(`intptr_t EVP_PKEY_new_raw_public_key(${raw})`),
    setPublic: declare('int EVP_PKEY_set1_encoded_public_key(intptr_t key, intptr_t bytes, size_t length)'),
    publicKeyOf: declare('int EVP_PKEY_get_raw_public_key(intptr_t key, intptr_t bytes, intptr_t length)'),
    freeKey: declare('void EVP_PKEY_free(intptr_t key)'),
    newContext: declare('intptr_t EVP_PKEY_CTX_new(intptr_t key, intptr_t engine)'),
    newContextOf: declare('intptr_t EVP_PKEY_CTX_new_id(int type, intptr_t engine)'),
    freeContext: declare('void EVP_PKEY_CTX_free(intptr_t context)'),
    generateInit: declare('int EVP_PKEY_keygen_init(intptr_t context)'),
    generate: declare('int EVP_PKEY_keygen(intptr_t context, intptr_t key)'),
    deriveInit: declare('int EVP_PKEY_derive_init(intptr_t context)'),
    setRemote: declare('int EVP_PKEY_derive_set_peer_ex(intptr_t context, intptr_t remote, int validate)'),
    derive: declare('int EVP_PKEY_derive(intptr_t context, intptr_t secret, intptr_t length)'),
    /** The queue of the OpenSSL that node:crypto uses. */
    clearErrors: functionsOf(null)<[]>('void ERR_clear_error()'),
  };
}

/** The DER of a private key up to its 32 bytes, RFC 8410 §7. */
const PRIVATE_DER = Buffer.from('302e020100300506032b656e04220420', 'hex');
/** RFC 7748 §4.1: DH with it makes a public key. */
const BASE_POINT = new Uint8Array(KEY).fill(9, 0, 1);

class NodeKey implements X25519Key {
  #object: KeyObject | undefined;

  constructor(object: KeyObject) {
    this.#object = object;
  }

  get object(): KeyObject {
    if (!this.#object) throw new TypeError('the private key was destroyed');
    return this.#object;
  }

  destroy(): void {
    this.#object = undefined; // OpenSSL clears the key's memory when the object is collected
  }
}

/** node:crypto: half as fast, and available in every node. */
class NodeX25519 implements X25519 {
  readonly name = 'node:crypto';

  generate(publicKey: Uint8Array): X25519Key {
    // Not exported from the pair's public object: as DER that is slower than a DH, and as JWK Node 20 hangs.
    return this.#keyOf(generateKeyPairSync('x25519').privateKey, publicKey);
  }

  /** Not by JWK: that would leave the key in a string, which cannot be erased. */
  load(bytes: Uint8Array, publicKey: Uint8Array): X25519Key {
    const der = Buffer.concat([PRIVATE_DER, bytes]);
    const object = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    der.fill(0);
    return this.#keyOf(object, publicKey);
  }

  derive(key: X25519Key, publicKey: Uint8Array, secret: Uint8Array): boolean {
    let shared: Buffer;
    try {
      shared = diffieHellman({ privateKey: (key as NodeKey).object, publicKey: publicObject(publicKey) });
    } catch (error) {
      secret.fill(0);
      if (error instanceof TypeError) throw error; // destroyed
      return false; // OpenSSL refuses an all-zero result itself
    }
    secret.set(shared);
    shared.fill(0);
    return secret.some((byte) => byte !== 0);
  }

  forget(): void {} // node's own stack is overwritten all the time

  #keyOf(object: KeyObject, publicKey: Uint8Array): NodeKey {
    const key = new NodeKey(object);
    this.derive(key, BASE_POINT, publicKey);
    return key;
  }
}

/** By JWK, which is 12 times faster than DER. */
const publicObject = (bytes: Uint8Array): KeyObject =>
  createPublicKey({
    key: { kty: 'OKP', crv: 'X25519', x: Buffer.from(bytes).toString('base64url') },
    format: 'jwk',
  });

/** Whether an implementation computes the shared secret of RFC 7748 §6.1 from both sides, and refuses a weak key. */
function passesSelfTest(x25519: X25519): boolean {
  const [alice, bob, secret] = [new Uint8Array(KEY), new Uint8Array(KEY), new Uint8Array(KEY)];
  const aliceKey = x25519.load(Buffer.from(EXAMPLE.alice, 'hex'), alice);
  const bobKey = x25519.load(Buffer.from(EXAMPLE.bob, 'hex'), bob);
  const fresh = new Uint8Array(KEY);
  const freshKey = x25519.generate(fresh);
  const other = new Uint8Array(KEY);
  const isExample = (bytes: Uint8Array): boolean => Buffer.from(bytes).toString('hex') === EXAMPLE.secret;
  try {
    if (!x25519.derive(aliceKey, bob, secret) || !isExample(secret)) return false;
    if (!x25519.derive(bobKey, alice, secret) || !isExample(secret)) return false;
    if (!x25519.derive(aliceKey, fresh, secret) || !x25519.derive(freshKey, alice, other)) return false;
    return Buffer.compare(secret, other) === 0 && !x25519.derive(aliceKey, new Uint8Array(KEY), secret);
  } finally {
    for (const key of [aliceKey, bobKey, freshKey]) key.destroy();
  }
}

/** RFC 7748 §6.1. */
const EXAMPLE = {
  alice: '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a',
  bob: '5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb',
  secret: '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742',
} as const;
