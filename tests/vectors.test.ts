import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { blake2s } from '../src/crypto/blake2s.js';
import { FieldSealer } from '../src/crypto/field-sealer.js';
import { NodeCrypto } from '../src/crypto/node-crypto.js';
import { CookieChecker } from '../src/wireguard/cookie.js';
import { type Crypto, EMPTY, type PrivateKey } from '../src/wireguard/crypto.js';
import { innerAddresses, innerLength } from '../src/wireguard/inner.js';
import {
  INITIATION,
  messageType,
  RESPONSE,
  readCounter,
  TRANSPORT,
  viewOf,
} from '../src/wireguard/messages.js';
import {
  createInitiation,
  createResponse,
  openPayload,
  openResponse,
  openStatic,
  type Transcript,
} from '../src/wireguard/noise.js';

const crypto: Crypto = new NodeCrypto();
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const filled = (length: number, fill: (out: Uint8Array) => void): Uint8Array => {
  const out = new Uint8Array(length);
  fill(out);
  return out;
};
const sharedSecret = (own: PrivateKey, theirs: Uint8Array): Uint8Array =>
  filled(32, (out) => assert.ok(crypto.dh(own, crypto.publicKey(theirs), out)));

/** The vectors of a file. A file without vectors or source is an error. */
function load<T>(file: string, list: string): T[] {
  const content = JSON.parse(readFileSync(`tests/vectors/${file}`, 'utf8')) as Record<string, unknown>;
  assert.ok(typeof content['source'] === 'string' && content['source'].length > 0, `${file} names no source`);
  const vectors = content[list] as T[];
  assert.ok(vectors?.length > 0, `${file} has no ${list}`);
  return vectors;
}

interface Primitive {
  readonly of: string;
  readonly source: string;
  readonly [field: string]: string;
}
const primitives = load<Primitive>('primitives.json', 'vectors');
const vectorsOf = (name: string): Record<string, string>[] => {
  const found = primitives.filter(({ of, source }) => of === name && source.length > 0);
  assert.ok(found.length > 0, `no vectors for ${name}`);
  return found;
};

test('BLAKE2s-256 matches RFC 7693, appendix B', () => {
  for (const { input, hash } of vectorsOf('blake2s')) {
    const bytes = hex(input!);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const out = filled(32, (into) => crypto.hash(bytes.subarray(0, cut), bytes.subarray(cut), into));
      assert.equal(toHex(out), hash);
    }
  }
});

test('BLAKE2s with keys and other lengths passes the self-test of RFC 7693, appendix E', () => {
  const sequence = (length: number, seed: number): Uint8Array => {
    let a = Math.imul(0xdead4bad, seed);
    let b = 1;
    return Uint8Array.from({ length }, () => {
      const t = (a + b) | 0;
      a = b;
      b = t;
      return (t >>> 24) & 0xff;
    });
  };
  const all: Uint8Array[] = [];
  for (const length of [16, 20, 28, 32]) {
    for (const inputLength of [0, 3, 64, 65, 255, 1024]) {
      const input = sequence(inputLength, inputLength);
      const key = sequence(length, length);
      all.push(filled(length, (out) => blake2s([input], out, length)));
      const keyed = filled(length, (out) => blake2s([input], out, length, key));
      if (length === 16)
        assert.deepEqual(
          filled(16, (out) => crypto.mac(key, input, out)),
          keyed,
        );
      all.push(keyed);
    }
  }
  const [{ hash } = { hash: '' }] = vectorsOf('blake2s self test');
  assert.equal(toHex(filled(32, (out) => blake2s(all, out))), hash);
});

test('X25519 matches RFC 7748', () => {
  for (const vector of vectorsOf('x25519')) {
    assert.equal(
      toHex(sharedSecret(crypto.privateKey(hex(vector['private']!)), hex(vector['public']!))),
      vector['shared'],
    );
  }
});

test('X25519 refuses an all-zero shared secret, RFC 7748 section 6.1', () => {
  for (const { public: point } of vectorsOf('x25519 low order')) {
    const out = new Uint8Array(32).fill(1);
    assert.equal(crypto.dh(crypto.generate(), crypto.publicKey(hex(point!)), out), false);
    assert.deepEqual(out, new Uint8Array(32));
  }
});

test('ChaCha20-Poly1305 matches RFC 8439', () => {
  const sealer = new FieldSealer();
  for (const { key, nonce, data, plaintext, sealed } of vectorsOf('chacha20poly1305')) {
    const text = hex(plaintext!);
    const out = new Uint8Array(text.length + 16);
    sealer.seal(hex(key!), hex(nonce!), text, hex(data!), out);
    assert.equal(toHex(out), sealed);
    const back = new Uint8Array(text.length);
    assert.ok(sealer.open(hex(key!), hex(nonce!), out, hex(data!), back));
    assert.deepEqual(back, text);
    out[3]! ^= 1;
    assert.equal(sealer.open(hex(key!), hex(nonce!), out, hex(data!), back), false);
    assert.deepEqual(back, new Uint8Array(text.length));
  }
});

test('XChaCha20-Poly1305 matches draft-irtf-cfrg-xchacha-03', () => {
  for (const { key, nonce, data, plaintext, sealed } of vectorsOf('xchacha20poly1305')) {
    const text = hex(plaintext!);
    const out = new Uint8Array(text.length + 16);
    crypto.xseal(hex(key!), hex(nonce!), text, hex(data!), out);
    assert.equal(toHex(out), sealed);
    const back = new Uint8Array(text.length);
    assert.ok(crypto.xopen(hex(key!), hex(nonce!), out, hex(data!), back));
    assert.deepEqual(back, text);
    out[3]! ^= 1;
    assert.equal(crypto.xopen(hex(key!), hex(nonce!), out, hex(data!), back), false);
  }
});

interface NoiseVector {
  readonly init_prologue: string;
  readonly init_psks: readonly [string];
  readonly init_static: string;
  readonly init_ephemeral: string;
  readonly init_remote_static: string;
  readonly resp_static: string;
  readonly resp_ephemeral: string;
  readonly handshake_hash: string;
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[];
}

test('the handshake code passes the published vectors of Noise IKpsk2', () => {
  for (const vector of load<NoiseVector>('noise-ikpsk2.json', 'vectors')) {
    const key = (text: string): PrivateKey => crypto.privateKey(hex(text));
    const initiator = { static: key(vector.init_static), ephemeral: key(vector.init_ephemeral) };
    const responder = { static: key(vector.resp_static), ephemeral: key(vector.resp_ephemeral) };
    const prologue = hex(vector.init_prologue);
    const psk = hex(vector.init_psks[0]);
    const [first, second, ...transport] = vector.messages;
    assert.ok(first && second && transport.length > 0);
    assert.equal(toHex(responder.static.publicKey.bytes), vector.init_remote_static);

    const initiation = new Uint8Array(96 + first.payload.length / 2);
    const staticStatic = sharedSecret(initiator.static, responder.static.publicKey.bytes);
    const ours = createInitiation(
      crypto,
      initiator.static.publicKey,
      initiator.ephemeral,
      responder.static.publicKey,
      staticStatic,
      hex(first.payload),
      initiation,
      prologue,
    );
    assert.ok(ours);
    assert.equal(toHex(initiation), first.ciphertext);

    const claimed = openStatic(crypto, responder.static, initiation, prologue);
    assert.ok(claimed);
    assert.deepEqual(claimed.initiator, initiator.static.publicKey.bytes);
    const payload = new Uint8Array(first.payload.length / 2);
    assert.ok(openPayload(claimed, staticStatic, initiation, payload));
    assert.equal(toHex(payload), first.payload);

    const response = new Uint8Array(48 + second.payload.length / 2);
    assert.ok(
      createResponse(
        claimed,
        responder.ephemeral,
        initiator.static.publicKey,
        psk,
        hex(second.payload),
        response,
      ),
    );
    assert.equal(toHex(response), second.ciphertext);
    const answer = new Uint8Array(second.payload.length / 2);
    assert.ok(openResponse(crypto, ours, initiator.static, initiator.ephemeral, psk, response, answer));
    assert.equal(toHex(answer), second.payload);

    assert.equal(toHex(ours.hash), vector.handshake_hash);
    assert.deepEqual(claimed.transcript.hash, ours.hash);
    const [toResponder, toInitiator] = keysOf(ours, true);
    assert.deepEqual(keysOf(claimed.transcript, false), [toInitiator, toResponder]);
    for (const [i, message] of transport.entries()) {
      const sealed = new Uint8Array(message.ciphertext.length / 2);
      const sendingKey = i % 2 === 0 ? toResponder : toInitiator;
      crypto.seal(sendingKey, Math.floor(i / 2), hex(message.payload), EMPTY, sealed);
      assert.equal(toHex(sealed), message.ciphertext);
    }
  }
});

const keysOf = (
  transcript: Transcript,
  isInitiator: boolean,
): [sending: Uint8Array, receiving: Uint8Array] => {
  const keys: [Uint8Array, Uint8Array] = [new Uint8Array(32), new Uint8Array(32)];
  transcript.split(...keys, isInitiator);
  return keys;
};

interface Captured {
  readonly wireguardGoIs: 'initiator' | 'responder';
  readonly ourPrivateKey: string;
  readonly theirPrivateKey: string;
  readonly ourEphemeralPrivateKey: string;
  readonly presharedKey: string;
  readonly messages: { readonly initiation: string; readonly response: string };
  readonly transport: readonly string[];
}
const captured = load<Captured>('wireguard-go.json', 'sessions');

test('the captures cover both roles, with and without a preshared key', () => {
  const kinds = captured.map(
    ({ wireguardGoIs, presharedKey }) => `${wireguardGoIs} ${/[^0]/.test(presharedKey)}`,
  );
  assert.deepEqual(kinds.sort(), ['initiator false', 'initiator true', 'responder false', 'responder true']);
});

for (const capture of captured) {
  const psk = /[^0]/.test(capture.presharedKey) ? 'with' : 'without';
  test(`the captured handshake of wireguard-go as ${capture.wireguardGoIs}, ${psk} preshared key, can be opened`, () => {
    const ours = crypto.privateKey(hex(capture.ourPrivateKey));
    const theirs = crypto.privateKey(hex(capture.theirPrivateKey)).publicKey;
    const ephemeral = crypto.privateKey(hex(capture.ourEphemeralPrivateKey));
    const initiation = hex(capture.messages.initiation);
    const response = hex(capture.messages.response);
    const fromThem = capture.wireguardGoIs === 'initiator' ? initiation : response;
    assert.equal(messageType(viewOf(fromThem), 0, fromThem.length), fromThem === initiation ? 1 : 2);
    assert.ok(new CookieChecker(crypto, ours.publicKey.bytes).hasMac1(fromThem));

    const receivingKey =
      capture.wireguardGoIs === 'initiator'
        ? asResponder(ours, ephemeral, theirs.bytes, hex(capture.presharedKey), initiation, response)
        : asInitiator(ours, ephemeral, theirs.bytes, hex(capture.presharedKey), initiation, response);

    assert.ok(capture.transport.length > 0);
    for (const message of capture.transport.map(hex)) {
      const sealed = message.subarray(TRANSPORT.payload);
      const packet = new Uint8Array(sealed.length - 16);
      assert.ok(
        crypto.open(receivingKey, readCounter(viewOf(message), TRANSPORT.counter), sealed, EMPTY, packet),
      );
      assert.ok(innerLength(packet) > 0);
      const { source, destination } = innerAddresses(packet);
      assert.deepEqual([...packet.subarray(source, source + 4)], [10, 0, 0, 2]);
      assert.deepEqual([...packet.subarray(destination, destination + 4)], [10, 0, 0, 1]);
    }
  });
}

/** Opens a captured initiation, and recreates the captured response to derive the same keys. */
function asResponder(
  ours: PrivateKey,
  ephemeral: PrivateKey,
  theirs: Uint8Array,
  psk: Uint8Array,
  initiation: Uint8Array,
  response: Uint8Array,
): Uint8Array {
  const noise = initiation.subarray(INITIATION.ephemeral, INITIATION.mac1);
  const claimed = openStatic(crypto, ours, noise);
  assert.deepEqual(claimed?.initiator, theirs);
  const timestamp = new Uint8Array(12);
  assert.ok(openPayload(claimed!, sharedSecret(ours, theirs), noise, timestamp));
  assert.equal(timestamp[0], 0x40);
  const written = new Uint8Array(RESPONSE.mac1 - RESPONSE.ephemeral);
  assert.ok(createResponse(claimed!, ephemeral, crypto.publicKey(theirs), psk, EMPTY, written));
  assert.deepEqual(written, response.subarray(RESPONSE.ephemeral, RESPONSE.mac1));
  return keysOf(claimed!.transcript, false)[1];
}

/** Recreates a captured initiation, compares it, and opens the captured response. */
function asInitiator(
  ours: PrivateKey,
  ephemeral: PrivateKey,
  theirs: Uint8Array,
  psk: Uint8Array,
  initiation: Uint8Array,
  response: Uint8Array,
): Uint8Array {
  const peer = crypto.publicKey(theirs);
  const staticStatic = sharedSecret(ours, theirs);
  const noise = initiation.subarray(INITIATION.ephemeral, INITIATION.mac1);
  // The capture does not record the timestamp. The responder's private key, generated for this capture, opens it.
  const { theirPrivateKey } = captured.find(({ messages }) => messages.initiation === toHex(initiation))!;
  const claimed = openStatic(crypto, crypto.privateKey(hex(theirPrivateKey)), noise)!;
  const timestamp = new Uint8Array(12);
  assert.ok(openPayload(claimed, staticStatic, noise, timestamp));

  const written = new Uint8Array(noise.length);
  const transcript = createInitiation(
    crypto,
    ours.publicKey,
    ephemeral,
    peer,
    staticStatic,
    timestamp,
    written,
  );
  assert.deepEqual(written, noise);
  const inner = response.subarray(RESPONSE.ephemeral, RESPONSE.mac1);
  assert.ok(openResponse(crypto, transcript!, ours, ephemeral, psk, inner, EMPTY));
  return keysOf(transcript!, true)[1];
}
