/**
 * The cryptography of [W] 5.4, passed as an argument: the protocol stays pure, and tests may pass a cheap fake.
 * Functions write into `out`, which the caller owns and erases. None of them throws on bytes from a stranger.
 */
export interface Crypto {
  /** Any 32 bytes are a public key; `dh` refuses one of low order. The bytes are copied. */
  publicKey(bytes: Uint8Array): PublicKey;
  /** Takes a copy of 32 private bytes into a handle; the caller erases its own. */
  privateKey(bytes: Uint8Array): PrivateKey;
  /** DH-Generate(). */
  generate(): PrivateKey;
  /** DH(private, public) into 32 bytes. False, and zeros, for an all-zero result: the public key is of low order. */
  dh(privateKey: PrivateKey, publicKey: PublicKey, out: Uint8Array): boolean;

  /** Hash(a || b): BLAKE2s-256. `out` may be `a`. */
  hash(a: Uint8Array, b: Uint8Array, out: Uint8Array): void;
  /** Mac(key, input): BLAKE2s-128 keyed with at most 32 bytes, into 16 bytes. */
  mac(key: Uint8Array, input: Uint8Array, out: Uint8Array): void;
  /**
   * Kdf_n(key, input), n being the number of outputs: HKDF with HMAC-BLAKE2s ([W] 5.4).
   * The first output may be `key`.
   */
  kdf(key: Uint8Array, input: Uint8Array, out1: Uint8Array, out2?: Uint8Array, out3?: Uint8Array): void;

  /** Aead(key, counter, plaintext, data): ChaCha20-Poly1305 into `plaintext.length + 16` bytes. */
  seal(key: Uint8Array, counter: number, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void;
  /** Reverses `seal`. False, and `out` unspecified, when the tag is wrong. */
  open(key: Uint8Array, counter: number, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean;
  /** Xaead(key, nonce, plaintext, data): XChaCha20-Poly1305 with a nonce of 24 bytes. */
  xseal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void;
  /** Reverses `xseal`. */
  xopen(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean;

  /** Fills `out` with unpredictable bytes. */
  random(out: Uint8Array): void;
  /** Compares in constant time. */
  equal(a: Uint8Array, b: Uint8Array): boolean;
}

/** A public key, with anything the implementation stores to make `dh` cheap. */
export interface PublicKey {
  readonly kind: 'public';
  readonly bytes: Uint8Array;
}

/** A handle. Only the implementation sees the private bytes. */
export interface PrivateKey {
  readonly kind: 'private';
  readonly publicKey: PublicKey;
  /** Erases the private bytes. The handle cannot be used after this. */
  destroy(): void;
}

/** The lengths of [W] 5.4: keys, hashes and chaining keys; AEAD tags; macs and cookies; XAEAD nonces. */
export const LENGTH = { key: 32, hash: 32, tag: 16, mac: 16, cookie: 16, xnonce: 24 } as const;

/**
 * Zeroed memory for a secret, with a buffer of its own: small arrays without one are on the garbage-collected heap, which
 * moves them and leaves the old bytes behind. Erase it after use.
 */
export const secretBytes = (length: number = LENGTH.key): Uint8Array<ArrayBuffer> =>
  new Uint8Array(new ArrayBuffer(length));

/** Q of [W] 5.4 when no preshared key is set: zeros. */
export const NO_PRESHARED_KEY: Readonly<Uint8Array> = new Uint8Array(LENGTH.key);

export const EMPTY: Uint8Array = new Uint8Array(0);

/** The bytes of an ASCII string: labels and names of [W] 5.4. */
export const ascii = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));

/** A random double in [0, 1), good for jitter. */
export function randomFraction(crypto: Crypto): number {
  const bytes = new Uint8Array(4);
  crypto.random(bytes);
  return (bytes[0]! + 2 ** 8 * (bytes[1]! + 2 ** 8 * (bytes[2]! + 2 ** 8 * bytes[3]!))) / 2 ** 32;
}

/** A key for maps: the bytes as a string, one character each. For public keys, never for secrets. */
export const mapKey = (bytes: Uint8Array): string =>
  String.fromCharCode.apply(null, bytes as unknown as number[]); // a third of the time that `...bytes` takes
