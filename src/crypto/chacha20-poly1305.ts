import { createCipheriv, createDecipheriv } from 'node:crypto';
import koffi from '../linux/ffi/koffi.js';
import { allocate, type Memory } from '../linux/ffi/memory.js';
import { AEAD, type ChaCha20Poly1305, PARAMETERS } from './chacha20-poly1305-contract.js';
import { ComposedChaCha20Poly1305, DirectPrimitives, EvpPrimitives } from './chacha20-poly1305-openssl.js';
import { sharedLibcrypto } from './shared-libcrypto.js';

/**
 * The fastest implementation that works here. Each proves itself before it is used.
 *
 * @param openssl whether OpenSSL may be called directly
 */
export function loadChaCha20Poly1305(openssl = true): ChaCha20Poly1305 {
  for (const make of openssl ? IMPLEMENTATIONS : IMPLEMENTATIONS.slice(-1)) {
    try {
      const implementation = make();
      if (passesSelfTest(implementation)) return implementation;
    } catch {} // not exported, not installed, or an OpenSSL that lacks the cipher: the next one
  }
  throw new Error('no implementation of ChaCha20-Poly1305 works on this machine');
}

/** Best first. Exported for tests, which compare them. */
export const IMPLEMENTATIONS: readonly (() => ChaCha20Poly1305)[] = [
  () => new ComposedChaCha20Poly1305(new DirectPrimitives()),
  () => new ComposedChaCha20Poly1305(new EvpPrimitives(null)),
  () => new ComposedChaCha20Poly1305(new EvpPrimitives(sharedLibcrypto())),
  () => new NodeChaCha20Poly1305(),
];

/** node:crypto: many times slower, and available in every node. */
class NodeChaCha20Poly1305 implements ChaCha20Poly1305 {
  readonly name = 'node:crypto';
  readonly parameters: Memory = allocate(PARAMETERS.size);

  seal(
    key: number,
    dataLength: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): void {
    const { bytes } = this.parameters;
    sealWithNode(
      new Uint8Array(koffi.view(key, AEAD.key)),
      bytes.subarray(PARAMETERS.nonce, PARAMETERS.nonce + AEAD.nonce),
      from.bytes.subarray(at, at + length),
      bytes.subarray(PARAMETERS.data, PARAMETERS.data + dataLength),
      to.bytes.subarray(out),
    );
  }

  open(
    key: number,
    dataLength: number,
    from: Memory,
    at: number,
    to: Memory,
    out: number,
    length: number,
  ): boolean {
    const { bytes } = this.parameters;
    return openWithNode(
      new Uint8Array(koffi.view(key, AEAD.key)),
      bytes.subarray(PARAMETERS.nonce, PARAMETERS.nonce + AEAD.nonce),
      from.bytes.subarray(at, at + length + AEAD.tag),
      bytes.subarray(PARAMETERS.data, PARAMETERS.data + dataLength),
      to.bytes.subarray(out),
    );
  }

  forget(): void {} // node's own stack is overwritten all the time
}

const OPTIONS = { authTagLength: AEAD.tag } as const;

/** Writes ciphertext and tag. `out` may be the plaintext's own memory. */
export function sealWithNode(
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  data: Uint8Array,
  out: Uint8Array,
): void {
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, OPTIONS);
  cipher.setAAD(data, { plaintextLength: plaintext.length });
  const { length } = plaintext;
  out.set(cipher.update(plaintext));
  cipher.final();
  out.set(cipher.getAuthTag(), length);
}

/** @returns whether the tag is right; if not, the output is garbage */
export function openWithNode(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  data: Uint8Array,
  out: Uint8Array,
): boolean {
  const length = sealed.length - AEAD.tag;
  const decipher = createDecipheriv('chacha20-poly1305', key, nonce, OPTIONS);
  decipher.setAuthTag(sealed.subarray(length));
  decipher.setAAD(data, { plaintextLength: length });
  out.set(decipher.update(sealed.subarray(0, length)));
  try {
    decipher.final();
    return true;
  } catch {
    return false;
  }
}

/** Lengths for the self-test: less than a block, and the edges at which OpenSSL takes another loop. */
const SELF_TEST_LENGTHS = [0, 1, 15, 16, 17, 37, 48, 63, 64, 65, 255, 256, 448, 960, 1000, 1420, 4000];

/** Layout of the self-test's memory: there is room around what is read and what is written. */
const SELF_TEST = { key: 0, input: 128, output: 4608, size: 9088 } as const;

/** Whether an implementation seals what node:crypto seals, opens it again, and refuses a forgery. */
function passesSelfTest(implementation: ChaCha20Poly1305): boolean {
  const memory = allocate(SELF_TEST.size);
  const passes = SELF_TEST_LENGTHS.every((length, i) => passesWith(implementation, memory, length, i * 3));
  implementation.forget();
  return passes;
}

function passesWith(tested: ChaCha20Poly1305, memory: Memory, length: number, dataLength: number): boolean {
  const { bytes, address } = memory;
  const { key, input, output } = SELF_TEST;
  const { bytes: parameters } = tested.parameters;
  for (let i = 0; i < bytes.length; i++) bytes[i] = 0x80 + i * 7 + (i >> 5);
  for (let i = PARAMETERS.nonce; i < PARAMETERS.data + dataLength; i++) parameters[i] = i * 5 + length;
  const plain = bytes.slice(input, input + length);
  const inFront = bytes.slice(output - AEAD.before, output);
  const expected = new Uint8Array(length + AEAD.tag);
  sealWithNode(
    bytes.slice(key, key + AEAD.key),
    parameters.slice(PARAMETERS.nonce, PARAMETERS.nonce + AEAD.nonce),
    plain,
    parameters.slice(PARAMETERS.data, PARAMETERS.data + dataLength),
    expected,
  );

  tested.seal(address + key, dataLength, memory, input, memory, output, length);
  const end = output + expected.length;
  if (!same(expected, bytes.subarray(output, end))) return false;
  if (!same(inFront, bytes.subarray(output - AEAD.before, output))) return false;

  const behind = bytes.slice(end, end + AEAD.behind);
  if (!tested.open(address + key, dataLength, memory, output, memory, input, length)) return false;
  if (!same(plain, bytes.subarray(input, input + length))) return false;
  if (!same(behind, bytes.subarray(end, end + AEAD.behind))) return false;
  bytes.set(expected, output);
  bytes[output + (length >> 1)]! ^= 1;
  return !tested.open(address + key, dataLength, memory, output, memory, input, length);
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
