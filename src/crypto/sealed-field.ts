import { createCipheriv, createDecipheriv } from 'node:crypto';
import { allocate } from '../linux/ffi/memory.js';
import { AEAD, declareEvp, OSSL_PARAM, OSSL_PARAM_OCTET_STRING } from './aead.js';

/**
 * ChaCha20-Poly1305 with associated data, RFC 8439 §2.8, for what is short and in JavaScript's memory: the fields of
 * handshake messages, and most messages of a channel. One thread, one instance. No key is left behind.
 */
export interface FieldSealer {
  /** Which implementation this is, for a log. */
  readonly name: string;
  /** Writes the ciphertext and the tag. @param nonce 12 bytes */
  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void;
  /** @returns whether the tag is right; if not, zeros are written */
  open(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean;
  /** Overwrites what the last calls left on the stack. */
  forget(): void;
}

/** The fastest implementation that works here; each proves itself before it is used. */
export function loadFieldSealer(): FieldSealer {
  for (const make of FIELD_SEALERS) {
    try {
      const sealer = make();
      if (passesSelfTest(sealer)) return sealer;
    } catch {} // not exported, not installed, or an OpenSSL that lacks the cipher: the next one
  }
  throw new Error('no implementation of ChaCha20-Poly1305 works on this machine');
}

/** Best first. Exported for tests, which compare them. */
export const FIELD_SEALERS: readonly (() => FieldSealer)[] = [
  () => new EvpFieldSealer(null),
  () => new EvpFieldSealer('libcrypto.so.3'),
  () => new NodeFieldSealer(),
];

/** What is longer is node:crypto's. A relay frame in a channel fits. */
const ROOM = 2048;
/** Up to here a loop is faster than a call that copies. */
const SHORT = 128;

/** Layout of the scratch memory of `EvpFieldSealer`; `text` with the tag behind it, and `data`, have `ROOM`. */
const SCRATCH = {
  key: 0,
  nonce: 32,
  outLength: 48,
  tagName: 56,
  noKey: 64,
  parameters: 96,
  data: 192,
  text: 192 + ROOM,
  size: 192 + 2 * ROOM + AEAD.tag,
} as const;

/** OpenSSL's EVP: a quarter of node:crypto's time, which makes an object for every field, and no work for the collector. */
class EvpFieldSealer implements FieldSealer {
  readonly name: string;
  readonly #evp;
  readonly #long = new NodeFieldSealer();
  readonly #scratch = allocate(SCRATCH.size);
  readonly #sealing: number;
  readonly #opening: number;

  /** @param library where to look for OpenSSL; null is what the process has already */
  constructor(library: string | null) {
    this.name = `OpenSSL EVP (${library ?? 'of the node binary'})`;
    this.#evp = declareEvp(library);
    const { bytes, view, address } = this.#scratch;
    bytes.set(new TextEncoder().encode('tag\0'), SCRATCH.tagName);
    view.setBigUint64(SCRATCH.parameters + OSSL_PARAM.key, BigInt(address + SCRATCH.tagName), true);
    view.setUint32(SCRATCH.parameters + OSSL_PARAM.type, OSSL_PARAM_OCTET_STRING, true);
    view.setBigUint64(SCRATCH.parameters + OSSL_PARAM.dataSize, BigInt(AEAD.tag), true);
    // An all-zero second parameter ends the list: the memory is zero already.
    const cipher = this.#evp.fetch(0, 'ChaCha20-Poly1305', 0);
    if (cipher === 0) throw new Error('this OpenSSL has no ChaCha20-Poly1305');
    this.#sealing = this.#evp.newContext();
    this.#opening = this.#evp.newContext();
    this.#evp.encryptInit(this.#sealing, cipher, address + SCRATCH.noKey, address + SCRATCH.nonce, 0);
    this.#evp.decryptInit(this.#opening, cipher, address + SCRATCH.noKey, address + SCRATCH.nonce, 0);
  }

  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    const { length } = plaintext;
    if (Math.max(length, data.length) > ROOM) {
      this.#long.seal(key, nonce, plaintext, data, out);
      return;
    }
    const evp = this.#evp;
    const { address } = this.#scratch;
    const context = this.#sealing;
    this.#prepare(key, nonce, plaintext, data, length);
    evp.encryptInit(context, 0, address + SCRATCH.key, address + SCRATCH.nonce, 0);
    evp.encryptUpdate(context, 0, address + SCRATCH.outLength, address + SCRATCH.data, data.length);
    evp.encryptUpdate(
      context,
      address + SCRATCH.text,
      address + SCRATCH.outLength,
      address + SCRATCH.text,
      length,
    );
    evp.encryptFinal(context, address + SCRATCH.text + length, address + SCRATCH.outLength);
    evp.getParameters(context, address + SCRATCH.parameters);
    evp.encryptInit(context, 0, address + SCRATCH.noKey, address + SCRATCH.nonce, 0);
    this.#take(out, length + AEAD.tag, length + AEAD.tag);
  }

  open(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    const length = sealed.length - AEAD.tag;
    if (length < 0) return false;
    if (Math.max(length, data.length) > ROOM) return this.#long.open(key, nonce, sealed, data, out);
    const evp = this.#evp;
    const { address } = this.#scratch;
    const context = this.#opening;
    this.#prepare(key, nonce, sealed, data, length);
    evp.decryptInit(context, 0, address + SCRATCH.key, address + SCRATCH.nonce, address + SCRATCH.parameters);
    evp.decryptUpdate(context, 0, address + SCRATCH.outLength, address + SCRATCH.data, data.length);
    evp.decryptUpdate(
      context,
      address + SCRATCH.text,
      address + SCRATCH.outLength,
      address + SCRATCH.text,
      length,
    );
    const isRight =
      evp.decryptFinal(context, address + SCRATCH.text + length, address + SCRATCH.outLength) === 1;
    evp.decryptInit(context, 0, address + SCRATCH.noKey, address + SCRATCH.nonce, 0);
    this.#take(out, isRight ? length : 0, sealed.length);
    if (!isRight) out.fill(0, 0, length);
    return isRight;
  }

  forget(): void {
    this.seal(NOTHING_SECRET, NOTHING_SECRET, NOTHING_SECRET, NOTHING_SECRET, NOWHERE);
    this.open(NOTHING_SECRET, NOTHING_SECRET, NOWHERE, NOTHING_SECRET, NOWHERE);
  }

  /** @param tag where OpenSSL finds or leaves the tag, counted from the text's first byte */
  #prepare(key: Uint8Array, nonce: Uint8Array, text: Uint8Array, data: Uint8Array, tag: number): void {
    const { bytes, view, address } = this.#scratch;
    for (let i = 0; i < AEAD.key; i++) bytes[SCRATCH.key + i] = key[i]!;
    for (let i = 0; i < AEAD.nonce; i++) bytes[SCRATCH.nonce + i] = nonce[i]!;
    if (text.length > SHORT) bytes.set(text, SCRATCH.text);
    else for (let i = 0; i < text.length; i++) bytes[SCRATCH.text + i] = text[i]!;
    for (let i = 0; i < data.length; i++) bytes[SCRATCH.data + i] = data[i]!;
    const place = address + SCRATCH.text + tag;
    view.setUint32(SCRATCH.parameters + OSSL_PARAM.data, place % 0x1_0000_0000, true);
    view.setUint32(SCRATCH.parameters + OSSL_PARAM.data + 4, Math.floor(place / 0x1_0000_0000), true);
  }

  /** Copies the result, and wipes what was used of the scratch memory. */
  #take(out: Uint8Array, length: number, used: number): void {
    const { bytes } = this.#scratch;
    if (used > SHORT) {
      out.set(bytes.subarray(SCRATCH.text, SCRATCH.text + length));
      bytes.fill(0, SCRATCH.text, SCRATCH.text + used);
    } else {
      for (let i = 0; i < length; i++) out[i] = bytes[SCRATCH.text + i]!;
      for (let i = 0; i < used; i++) bytes[SCRATCH.text + i] = 0;
    }
    for (let i = 0; i < AEAD.key; i++) bytes[SCRATCH.key + i] = 0;
  }
}

/** As long as the longest field, so that no part of the stack is left out. */
const NOTHING_SECRET = new Uint8Array(ROOM);
const NOWHERE = new Uint8Array(ROOM + AEAD.tag);

/** node:crypto: there on every node. */
class NodeFieldSealer implements FieldSealer {
  readonly name = 'node:crypto';

  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    const cipher = createCipheriv('chacha20-poly1305', key, nonce, OPTIONS);
    cipher.setAAD(data, { plaintextLength: plaintext.length });
    out.set(cipher.update(plaintext));
    cipher.final();
    out.set(cipher.getAuthTag(), plaintext.length);
  }

  open(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, data: Uint8Array, out: Uint8Array): boolean {
    const length = sealed.length - AEAD.tag;
    if (length < 0) return false;
    const decipher = createDecipheriv('chacha20-poly1305', key, nonce, OPTIONS);
    decipher.setAuthTag(sealed.subarray(length));
    decipher.setAAD(data, { plaintextLength: length });
    out.set(decipher.update(sealed.subarray(0, length)));
    try {
      decipher.final();
      return true;
    } catch {
      out.fill(0, 0, length);
      return false;
    }
  }

  forget(): void {} // its stack is node's own, and never at rest
}

const OPTIONS = { authTagLength: AEAD.tag } as const;

/** Whether an implementation makes what node:crypto makes of the same, reads it again, and refuses forgeries. */
function passesSelfTest(sealer: FieldSealer): boolean {
  const key = Uint8Array.from({ length: AEAD.key }, (_, i) => 0x80 + i);
  const nonce = Uint8Array.from({ length: AEAD.nonce }, (_, i) => i);
  const [plain, data] = [new TextEncoder().encode('a timestamp'), new TextEncoder().encode('a hash')];
  const [sealed, expected] = [new Uint8Array(27), new Uint8Array(27)];
  sealer.seal(key, nonce, plain, data, sealed);
  new NodeFieldSealer().seal(key, nonce, plain, data, expected);
  const opened = new Uint8Array(plain.length);
  if (Buffer.compare(sealed, expected) !== 0) return false;
  if (!sealer.open(key, nonce, sealed, data, opened) || Buffer.compare(opened, plain) !== 0) return false;
  sealed[3]! ^= 1;
  if (sealer.open(key, nonce, sealed, data, opened)) return false;
  sealed[3]! ^= 1;
  return !sealer.open(key, nonce, sealed, plain, opened);
}
