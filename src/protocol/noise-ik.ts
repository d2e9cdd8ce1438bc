import {
  ascii,
  type Crypto,
  LENGTH,
  type PrivateKey,
  type PublicKey,
  secretBytes,
} from '../wireguard/crypto.js';
import { Transcript } from '../wireguard/noise.js';

/** Noise, revision 34, §8: the name of the handshake. */
const CONSTRUCTION = ascii('Noise_IK_25519_ChaChaPoly_BLAKE2s');

/**
 * The two handshake messages of Noise IK (revision 34, §7.5):
 *
 *     <- s
 *     ...
 *     -> e, es, s, ss, payload       the initiator's static key, encrypted for the responder
 *     <- e, ee, se, payload
 *
 * Each key seals one field, so its counter is 0 (`Transcript.sealAndHash`). All functions erase the transcript and return
 * undefined when the other side's bytes are invalid.
 *
 * The first message proves only that someone with the initiator's private key made it once, because anyone can replay it.
 * The first transport message proves that the initiator is there.
 */
const FIRST = { ephemeral: 0, static: 32, payload: 80, overhead: 96 } as const;
const SECOND = { ephemeral: 0, payload: 32, overhead: 48 } as const;
/** The length of a handshake message without its payload, bytes. */
export const OVERHEAD = { first: FIRST.overhead, second: SECOND.overhead } as const;

/** `-> e, es, s, ss, payload`. The caller keeps the ephemeral key, to read the answer. */
export function writeFirst(
  crypto: Crypto,
  prologue: Uint8Array,
  local: PrivateKey,
  ephemeral: PrivateKey,
  responder: PublicKey,
  payload: Uint8Array,
): { readonly transcript: Transcript; readonly message: Uint8Array } | undefined {
  const message = new Uint8Array(FIRST.overhead + payload.length);
  const t = Transcript.begin(crypto, responder, prologue, CONSTRUCTION);
  /* e  */ message.set(ephemeral.publicKey.bytes, FIRST.ephemeral);
  t.mixHash(ephemeral.publicKey.bytes);
  /* es */ if (!t.mixDh(ephemeral, responder)) return refuse(t);
  /* s  */ t.sealAndHash(local.publicKey.bytes, message.subarray(FIRST.static, FIRST.payload));
  /* ss */ if (!t.mixDh(local, responder)) return refuse(t);
  t.sealAndHash(payload, message.subarray(FIRST.payload));
  return { transcript: t, message };
}

/** What the responder knows after the first message. */
export interface FirstMessage {
  readonly transcript: Transcript;
  readonly ephemeral: PublicKey;
  readonly initiator: PublicKey;
  readonly payload: Uint8Array;
}

/** Reads the first message. Bytes from a stranger cost one DH. */
export function readFirst(
  crypto: Crypto,
  prologue: Uint8Array,
  local: PrivateKey,
  message: Uint8Array,
): FirstMessage | undefined {
  if (message.length < FIRST.overhead) return undefined;
  const t = Transcript.begin(crypto, local.publicKey, prologue, CONSTRUCTION);
  const ephemeral = crypto.publicKey(message.subarray(FIRST.ephemeral, FIRST.static));
  const key = new Uint8Array(LENGTH.key);
  /* e  */ t.mixHash(ephemeral.bytes);
  /* es */ if (!t.mixDh(local, ephemeral)) return refuse(t);
  /* s  */ if (!t.openAndHash(message.subarray(FIRST.static, FIRST.payload), key)) return refuse(t);
  const initiator = crypto.publicKey(key);
  /* ss */ if (!t.mixDh(local, initiator)) return refuse(t);
  const payload = new Uint8Array(message.length - FIRST.overhead);
  if (!t.openAndHash(message.subarray(FIRST.payload), payload)) return refuse(t);
  return { transcript: t, ephemeral, initiator, payload };
}

/** `<- e, ee, se, payload`. */
export function writeSecond(
  first: FirstMessage,
  ephemeral: PrivateKey,
  payload: Uint8Array,
): Uint8Array | undefined {
  const message = new Uint8Array(SECOND.overhead + payload.length);
  const t = first.transcript;
  /* e  */ message.set(ephemeral.publicKey.bytes, SECOND.ephemeral);
  t.mixHash(ephemeral.publicKey.bytes);
  /* ee */ if (!t.mixDh(ephemeral, first.ephemeral)) return refuse(t);
  /* se */ if (!t.mixDh(ephemeral, first.initiator)) return refuse(t);
  t.sealAndHash(payload, message.subarray(SECOND.payload));
  return message;
}

/** Reads the second message. @returns its payload */
export function readSecond(
  crypto: Crypto,
  t: Transcript,
  local: PrivateKey,
  ephemeral: PrivateKey,
  message: Uint8Array,
): Uint8Array | undefined {
  if (message.length < SECOND.overhead) return refuse(t);
  const remote = crypto.publicKey(message.subarray(SECOND.ephemeral, SECOND.payload));
  /* e  */ t.mixHash(remote.bytes);
  /* ee */ if (!t.mixDh(ephemeral, remote)) return refuse(t);
  /* se */ if (!t.mixDh(local, remote)) return refuse(t);
  const payload = new Uint8Array(message.length - SECOND.overhead);
  return t.openAndHash(message.subarray(SECOND.payload), payload) ? payload : refuse(t);
}

/** Noise §5.1: CipherStates of both directions. The transcript is erased. */
export function split(
  t: Transcript,
  crypto: Crypto,
  initiator: boolean,
): { sending: Cipher; receiving: Cipher } {
  const [sending, receiving] = [secretBytes(), secretBytes()];
  t.split(sending, receiving, initiator);
  t.erase();
  return { sending: new Cipher(crypto, sending), receiving: new Cipher(crypto, receiving) };
}

/** Messages under one key need no counter on the wire: they arrive in order, or not at all. */
export class Cipher {
  readonly #crypto: Crypto;
  readonly #key: Uint8Array;
  /** A double: exact up to 2^53, more than any connection sends. */
  #counter: number;

  /** @param key belongs to this object from now on */
  constructor(crypto: Crypto, key: Uint8Array, counter = 0) {
    this.#crypto = crypto;
    this.#key = key;
    this.#counter = counter;
  }

  /** Seals in place. @param room the plaintext, and 16 bytes for the tag. @returns false when the key is used up */
  seal(room: Uint8Array): boolean {
    if (this.#counter >= LIMIT) return false;
    this.#crypto.seal(this.#key, this.#counter++, room.subarray(0, room.length - LENGTH.tag), NO_DATA, room);
    return true;
  }

  /** Opens in place. @returns the plaintext, which lies in `sealed`; undefined when the tag is wrong */
  open(sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < LENGTH.tag || this.#counter >= LIMIT) return undefined;
    const plaintext = sealed.subarray(0, sealed.length - LENGTH.tag);
    if (!this.#crypto.open(this.#key, this.#counter, sealed, NO_DATA, plaintext)) return undefined;
    this.#counter++;
    return plaintext;
  }

  erase(): void {
    this.#key.fill(0);
    this.#counter = LIMIT;
  }
}

/** After this many messages a new connection is needed: the counter, a double, is exact up to 2^53. */
export const LIMIT = 2 ** 48;
const NO_DATA = new Uint8Array(0);

function refuse(transcript: Transcript): undefined {
  transcript.erase();
  return undefined;
}
