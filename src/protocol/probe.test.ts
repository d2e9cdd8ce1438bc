import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import type { Endpoint } from '../ip/endpoint.js';
import {
  MAX_CALLED,
  openProbe,
  PROBE,
  type Probe,
  probeKey,
  probeParties,
  RecentNonces,
  sealProbe,
} from './probe.js';
import { mayBeRelayed } from './relay.js';

const crypto = new FakeCrypto(new SeededRandom(7));
const [a, b, stranger] = [crypto.generate(), crypto.generate(), crypto.generate()];
const key = probeKey(crypto, a, b.publicKey)!;
const transaction = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

const address = fc
  .oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    // Not ::, which means none, and not a mapped IPv4 address, which is decoded as IPv4.
    fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Uint8Array.of(0x20, ...bytes.subarray(1))),
  )
  .chain((bytes) => fc.integer({ min: 1, max: 65_535 }).map((port) => ({ address: bytes, port })));
const someTransaction = fc.uint8Array({ minLength: 8, maxLength: 8 });
const anyProbe: fc.Arbitrary<Probe> = fc.oneof(
  fc.record({
    type: fc.constant('ping' as const),
    transaction: someTransaction,
    length: fc.integer({ min: PROBE.overhead, max: PROBE.maxDirect }),
  }),
  fc.record({
    type: fc.constant('pong' as const),
    transaction: someTransaction,
    from: fc.option(address, { nil: undefined }),
  }),
  fc.record({
    type: fc.constant('opened' as const),
    transaction: someTransaction,
    answers: someTransaction,
    addresses: fc.array(address, { maxLength: MAX_CALLED }),
  }),
  fc.record({
    type: fc.constant('call' as const),
    transaction: someTransaction,
    addresses: fc.array(address, { maxLength: MAX_CALLED }),
  }),
);

test('each side opens what the other side seals', () => {
  const theirs = probeKey(crypto, b, a.publicKey)!;
  fc.assert(
    fc.property(anyProbe, fc.nat(2 ** 32 - 1), fc.nat(2 ** 32 - 1), (probe, from, to) => {
      const sealed = sealProbe(crypto, key, from, to, probe);
      assert.deepEqual(probeParties(sealed), { sender: from, receiver: to });
      assert.deepEqual(openProbe(crypto, theirs, sealed), { ...probe });
    }),
  );
});

test('pongs, calls and the shortest pings may go through the relay', () => {
  const addresses = Array.from(
    { length: 20 },
    (): Endpoint => ({ address: b.publicKey.bytes.slice(0, 16), port: 9 }),
  );
  const probes: Probe[] = [
    { type: 'ping', transaction },
    { type: 'pong', transaction },
    { type: 'call', transaction, addresses },
  ];
  for (const probe of probes) {
    const sealed = sealProbe(crypto, key, 1, 2, probe);
    assert.ok(sealed.length <= PROBE.maxLength);
    assert.ok(mayBeRelayed(view(sealed), 0, sealed.length));
  }
});

test('a changed, shortened, extended or forged probe is rejected', () => {
  const sealed = sealProbe(crypto, key, 1, 2, { type: 'pong', transaction });
  for (let at = 0; at < sealed.length; at++) {
    const changed = sealed.slice();
    changed[at]! ^= 1;
    assert.equal(openProbe(crypto, key, changed), undefined, `byte ${at}`);
  }
  for (let length = 0; length < sealed.length; length++)
    assert.equal(openProbe(crypto, key, sealed.slice(0, length)), undefined, `length ${length}`);
  assert.equal(openProbe(crypto, key, Uint8Array.of(...sealed, 0)), undefined);
  assert.equal(openProbe(crypto, probeKey(crypto, stranger, b.publicKey)!, sealed), undefined);
});

test('a probe that is sent back to its sender is rejected', () => {
  const sealed = sealProbe(crypto, key, 1, 2, { type: 'ping', transaction });
  assert.equal(probeParties(sealed)!.receiver, 2);
  const turned = sealed.slice();
  turned.set(sealed.subarray(4, 8), 8);
  turned.set(sealed.subarray(8, 12), 4);
  assert.deepEqual(probeParties(turned), { sender: 2, receiver: 1 });
  assert.equal(openProbe(crypto, key, turned), undefined);
});

test('garbage is never accepted as a probe', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      assert.equal(openProbe(crypto, key, bytes), undefined);
      assert.equal(openProbe(crypto, key, Uint8Array.of(0x4c, 0x54, 0x70, 0x31, ...bytes)), undefined);
    }),
  );
});

test('a probe of an unknown type, which a newer node may send, is dropped', () => {
  const known = { type: 'ping', transaction } as const;
  const sealedAs = (type: number) => {
    const changing = new FakeCrypto(new SeededRandom(type));
    const seal = changing.xseal.bind(changing);
    changing.xseal = (sealing, nonce, inner, data, out) => {
      inner[0] = type;
      seal(sealing, nonce, inner, data, out);
    };
    return sealProbe(changing, key, 1, 2, known);
  };
  assert.equal(openProbe(crypto, key, sealedAs(1))?.type, 'ping');
  assert.equal(openProbe(crypto, key, sealedAs(5)), undefined);
});

test('a repeated probe is recognized if it is recent', () => {
  const recent = new RecentNonces(8);
  const probes = Array.from({ length: 9 }, () => sealProbe(crypto, key, 1, 2, { type: 'ping', transaction }));
  for (const probe of probes.slice(0, 8)) assert.equal(recent.add(probe), true);
  for (const probe of probes.slice(0, 8)) assert.equal(recent.add(probe), false);
  assert.equal(recent.add(probes[8]!), true);
  assert.equal(recent.add(probes[0]!), true, 'no longer remembered');
  assert.equal(recent.add(probes[8]!), false);
});

test('a low-order public key gives no probe key', () => {
  assert.equal(probeKey(crypto, a, crypto.publicKey(new Uint8Array(32))), undefined);
});
