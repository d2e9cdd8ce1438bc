import { ascii, type Crypto, EMPTY, LENGTH, type PrivateKey, type PublicKey, secretBytes } from './crypto.js';
import { erase } from './messages.js';

/** [W] 5.4: the name of the Noise handshake, and what WireGuard mixes in as its prologue. */
const CONSTRUCTION = ascii('Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s');
const IDENTIFIER = ascii('WireGuard v1 zx2c4 Jason@zx2c4.com');

/**
 * The two handshake messages of Noise IKpsk2, without the fields that WireGuard puts around them:
 *
 *     <- s
 *     ...
 *     -> e, es, s, ss, payload       the initiator's static key, sealed, and its timestamp
 *     <- e, ee, se, psk, payload     the payload is empty in WireGuard
 *
 * All functions return false or undefined when the other side's bytes are wrong: a tag does not match, or a shared secret
 * is all zeros. The transcript can then only be erased.
 */

/** C, H and κ of the paper: everything said so far, by both sides. Erase it after use. */
export class Transcript {
  /** One buffer for all: each handshake allocates it. */
  readonly #bytes = secretBytes(4 * LENGTH.key);
  /** H: the hash of everything sent and received. */
  readonly hash = this.#bytes.subarray(0, 32);
  /** C: the chaining key. All secrets are mixed into it. */
  readonly #chain = this.#bytes.subarray(32, 64);
  /** κ: seals one field. */
  readonly #key = this.#bytes.subarray(64, 96);
  readonly #secret = this.#bytes.subarray(96);
  readonly #crypto: Crypto;

  constructor(crypto: Crypto) {
    this.#crypto = crypto;
  }

  /** @param prologue, construction not WireGuard's in the channel to the hub and in tests with vectors */
  static begin(
    crypto: Crypto,
    responder: PublicKey,
    prologue: Uint8Array = IDENTIFIER,
    construction: Uint8Array = CONSTRUCTION,
  ): Transcript {
    const t = new Transcript(crypto);
    crypto.hash(construction, EMPTY, t.#chain); // C := Hash(Construction)
    crypto.hash(t.#chain, prologue, t.hash); // H := Hash(C || Identifier)
    t.mixHash(responder.bytes); // H := Hash(H || S_pub_r)
    return t;
  }

  /** Copy it before you read a message that may be forged. */
  copy(): Transcript {
    const t = new Transcript(this.#crypto);
    t.#bytes.set(this.#bytes);
    return t;
  }

  /** H := Hash(H || data) */
  mixHash(data: Uint8Array): void {
    this.#crypto.hash(this.hash, data, this.hash);
  }

  /** C := Kdf1(C, data): for an ephemeral public key, which makes no κ. */
  mixChain(data: Uint8Array): void {
    this.#crypto.kdf(this.#chain, data, this.#chain);
  }

  /** (C, κ) := Kdf2(C, secret) */
  mixKey(secret: Uint8Array): void {
    this.#crypto.kdf(this.#chain, secret, this.#chain, this.#key);
  }

  /** (C, κ) := Kdf2(C, DH(private, public)). False when that is all zeros. */
  mixDh(privateKey: PrivateKey, publicKey: PublicKey): boolean {
    const usable = this.#crypto.dh(privateKey, publicKey, this.#secret);
    if (usable) this.mixKey(this.#secret);
    this.#secret.fill(0);
    return usable;
  }

  /** (C, τ, κ) := Kdf3(C, Q); H := Hash(H || τ) */
  mixPresharedKey(presharedKey: Uint8Array): void {
    this.#crypto.kdf(this.#chain, presharedKey, this.#chain, this.#secret, this.#key);
    this.mixHash(this.#secret);
    this.#secret.fill(0);
  }

  /** field := Aead(κ, 0, plaintext, H); H := Hash(H || field). A κ seals one field only: its counter is 0. */
  sealAndHash(plaintext: Uint8Array, field: Uint8Array): void {
    this.#crypto.seal(this.#key, 0, plaintext, this.hash, field);
    this.mixHash(field);
  }

  /** Reverses `sealAndHash`. */
  openAndHash(field: Uint8Array, plaintext: Uint8Array): boolean {
    if (!this.#crypto.open(this.#key, 0, field, this.hash, plaintext)) return false;
    this.mixHash(field);
    return true;
  }

  /** [W] 5.4.5: (T_send, T_recv) := Kdf2(C, empty), exchanged for the responder. */
  split(sending: Uint8Array, receiving: Uint8Array, initiator: boolean): void {
    const [first, second] = initiator ? [sending, receiving] : [receiving, sending];
    this.#crypto.kdf(this.#chain, EMPTY, first, second);
  }

  erase(): void {
    erase(this.#bytes);
  }
}

/** Where the fields of a handshake message begin, counted from its ephemeral key. */
const FIELD = { ephemeral: 0, static: 32, initiationPayload: 80, responsePayload: 32 } as const;

/**
 * Writes the first message, [W] 5.4.2: `-> e, es, s, ss, {t}`.
 *
 * @param staticStatic DH(S_priv_i, S_pub_r), which is the same in every handshake of two peers
 * @param out exactly as long as the message: 96 bytes and the payload
 */
export function createInitiation(
  crypto: Crypto,
  local: PublicKey,
  ephemeral: PrivateKey,
  responder: PublicKey,
  staticStatic: Uint8Array,
  payload: Uint8Array,
  out: Uint8Array,
  prologue?: Uint8Array,
): Transcript | undefined {
  const t = Transcript.begin(crypto, responder, prologue);
  /* e   */ out.set(ephemeral.publicKey.bytes, FIELD.ephemeral);
  t.mixChain(ephemeral.publicKey.bytes);
  t.mixHash(ephemeral.publicKey.bytes);
  /* es  */ if (!t.mixDh(ephemeral, responder)) return refuse(t);
  /* s   */ t.sealAndHash(local.bytes, out.subarray(FIELD.static, FIELD.initiationPayload));
  /* ss  */ t.mixKey(staticStatic);
  /* {t} */ t.sealAndHash(payload, out.subarray(FIELD.initiationPayload));
  return t;
}

/** What the responder knows halfway through an initiation: the initiator's claimed key, not yet proven. */
export interface ClaimedInitiation {
  readonly transcript: Transcript;
  readonly ephemeral: PublicKey;
  /** S_pub_i. The caller looks up the peer and its static-static secret. */
  readonly initiator: Uint8Array;
}

/** Reads the first half of the first message, `-> e, es, s`. */
export function openStatic(
  crypto: Crypto,
  local: PrivateKey,
  message: Uint8Array,
  prologue?: Uint8Array,
): ClaimedInitiation | undefined {
  const t = Transcript.begin(crypto, local.publicKey, prologue);
  const ephemeral = crypto.publicKey(message.subarray(FIELD.ephemeral, FIELD.static));
  const initiator = new Uint8Array(LENGTH.key);
  /* e   */ t.mixChain(ephemeral.bytes);
  t.mixHash(ephemeral.bytes);
  /* es  */ if (!t.mixDh(local, ephemeral)) return refuse(t);
  /* s   */ if (!t.openAndHash(message.subarray(FIELD.static, FIELD.initiationPayload), initiator))
    return refuse(t);
  return { transcript: t, ephemeral, initiator };
}

/** Reads the second half of the first message, `ss, {t}`. It proves the initiator's key. */
export function openPayload(
  claimed: ClaimedInitiation,
  staticStatic: Uint8Array,
  message: Uint8Array,
  payload: Uint8Array,
): boolean {
  /* ss  */ claimed.transcript.mixKey(staticStatic);
  /* {t} */ return claimed.transcript.openAndHash(message.subarray(FIELD.initiationPayload), payload);
}

/**
 * Writes the second message, [W] 5.4.3: `<- e, ee, se, psk, {}`.
 *
 * @param initiation a first message with both halves opened; its transcript becomes the session's
 * @param out exactly as long as the message: 48 bytes and the payload
 */
export function createResponse(
  initiation: ClaimedInitiation,
  ephemeral: PrivateKey,
  initiator: PublicKey,
  presharedKey: Uint8Array,
  payload: Uint8Array,
  out: Uint8Array,
): boolean {
  const t = initiation.transcript;
  /* e   */ out.set(ephemeral.publicKey.bytes, FIELD.ephemeral);
  t.mixChain(ephemeral.publicKey.bytes);
  t.mixHash(ephemeral.publicKey.bytes);
  /* ee  */ if (!t.mixDh(ephemeral, initiation.ephemeral)) return false;
  /* se  */ if (!t.mixDh(ephemeral, initiator)) return false;
  /* psk */ t.mixPresharedKey(presharedKey);
  /* {}  */ t.sealAndHash(payload, out.subarray(FIELD.responsePayload));
  return true;
}

/**
 * Reads the second message.
 *
 * @param t the transcript of our initiation. A forged message changes it, too: pass a copy to be able to read another
 */
export function openResponse(
  crypto: Crypto,
  t: Transcript,
  local: PrivateKey,
  ephemeral: PrivateKey,
  presharedKey: Uint8Array,
  message: Uint8Array,
  payload: Uint8Array,
): boolean {
  const remote = crypto.publicKey(message.subarray(FIELD.ephemeral, FIELD.responsePayload));
  /* e   */ t.mixChain(remote.bytes);
  t.mixHash(remote.bytes);
  /* ee  */ if (!t.mixDh(ephemeral, remote)) return false;
  /* se  */ if (!t.mixDh(local, remote)) return false;
  /* psk */ t.mixPresharedKey(presharedKey);
  /* {}  */ return t.openAndHash(message.subarray(FIELD.responsePayload), payload);
}

function refuse(transcript: Transcript): undefined {
  transcript.erase();
  return undefined;
}
