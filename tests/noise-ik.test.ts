import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { NodeCrypto } from '../src/crypto/node-crypto.js';
import { readFirst, readSecond, split, writeFirst, writeSecond } from '../src/protocol/noise-ik.js';

interface Vector {
  readonly protocol_name: string;
  readonly init_prologue: string;
  readonly init_static: string;
  readonly init_ephemeral: string;
  readonly init_remote_static: string;
  readonly resp_static: string;
  readonly resp_ephemeral: string;
  readonly handshake_hash: string;
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[];
}

const crypto = new NodeCrypto();
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const file = JSON.parse(readFileSync('tests/vectors/noise-ik.json', 'utf8')) as {
  readonly source: string;
  readonly vectors: readonly Vector[];
};

test('the handshake and the transport messages match the published vectors', () => {
  assert.ok(file.source.length > 0 && file.vectors.length > 0);
  for (const vector of file.vectors) {
    assert.equal(vector.protocol_name, 'Noise_IK_25519_ChaChaPoly_BLAKE2s');
    const key = (name: 'init_static' | 'init_ephemeral' | 'resp_static' | 'resp_ephemeral') =>
      crypto.privateKey(hex(vector[name]));
    const prologue = hex(vector.init_prologue);
    const [initiator, responder] = [key('init_static'), key('resp_static')];
    const [first, second, ...rest] = vector.messages;
    assert.equal(toHex(responder.publicKey.bytes), vector.init_remote_static);
    assert.ok(first && second && rest.length >= 2);

    const ephemeral = key('init_ephemeral');
    const sent = writeFirst(
      crypto,
      prologue,
      initiator,
      ephemeral,
      crypto.publicKey(hex(vector.init_remote_static)),
      hex(first.payload),
    );
    assert.equal(toHex(sent!.message), first.ciphertext);
    const read = readFirst(crypto, prologue, responder, hex(first.ciphertext));
    assert.equal(toHex(read!.payload), first.payload);
    const answer = writeSecond(read!, key('resp_ephemeral'), hex(second.payload));
    assert.equal(toHex(answer!), second.ciphertext);
    const payload = readSecond(crypto, sent!.transcript, initiator, ephemeral, hex(second.ciphertext));
    assert.equal(toHex(payload!), second.payload);
    assert.equal(toHex(sent!.transcript.hash), vector.handshake_hash);
    assert.equal(toHex(read!.transcript.hash), vector.handshake_hash);

    const sides = [split(sent!.transcript, crypto, true), split(read!.transcript, crypto, false)];
    for (const [i, { payload, ciphertext }] of rest.entries()) {
      const room = new Uint8Array([...hex(payload), ...new Uint8Array(16)]);
      assert.ok(sides[i % 2]!.sending.seal(room));
      assert.equal(toHex(room), ciphertext);
      assert.equal(toHex(sides[1 - (i % 2)]!.receiving.open(room)!), payload);
    }
  }
});
