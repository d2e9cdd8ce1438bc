import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FakeCrypto } from '../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../tests/kit/random.js';
import { MESSAGE_TYPE } from '../wireguard/messages.js';
import {
  decodeControl,
  encodeControl,
  MAGIC,
  mayBeRelayed,
  openFrame,
  RELAY_CONTROL,
  RELAY_FRAME,
  RELAY_KIND,
  type RelayControl,
  writeFrameHeader,
} from './relay.js';

const crypto = new FakeCrypto(new SeededRandom(2));
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const control: fc.Arbitrary<Required<RelayControl>> = fc.record(
  {
    kind: fc.constantFrom(...Object.values(RELAY_KIND)),
    session: bytes(8),
    sequence: fc.nat(Number.MAX_SAFE_INTEGER),
    address: bytes(16),
    port: fc.nat(65_535),
    cookie: bytes(6),
    length: fc.integer({ min: RELAY_CONTROL.minLength, max: RELAY_CONTROL.maxLength }),
  },
  { noNullPrototype: true },
);

test('messages between node and relay survive a round trip with the key', () => {
  fc.assert(
    fc.property(control, bytes(32), bytes(32), (said, key, otherKey) => {
      const datagram = encodeControl(crypto, key, said);
      assert.deepEqual(decodeControl(crypto, key, datagram), said);
      fc.pre(key.some((byte, i) => byte !== otherKey[i]));
      assert.equal(decodeControl(crypto, otherKey, datagram), undefined);
    }),
  );
});

test('no byte of a control message can be changed, removed or added', () => {
  const key = new Uint8Array(32).fill(3);
  const datagram = encodeControl(crypto, key, {
    kind: RELAY_KIND.bind,
    session: new Uint8Array(8),
    sequence: 5,
  });
  for (let at = 0; at < datagram.length; at++) {
    const changed = datagram.slice();
    changed[at]! ^= 1;
    assert.equal(decodeControl(crypto, key, changed), undefined, `byte ${at}`);
    assert.equal(decodeControl(crypto, key, datagram.slice(0, at)), undefined, `length ${at}`);
  }
  assert.equal(decodeControl(crypto, key, Uint8Array.of(...datagram, 0)), undefined);
  assert.ok(decodeControl(crypto, key, datagram));
});

test('a sequence that is not a number is refused', () => {
  const key = new Uint8Array(32);
  for (const sequence of [NaN, Infinity, -Infinity]) {
    const datagram = encodeControl(crypto, key, {
      kind: RELAY_KIND.bind,
      session: new Uint8Array(8),
      sequence,
    });
    assert.equal(decodeControl(crypto, key, datagram), undefined, `${sequence}`);
  }
});

test('a relay frame has a member and a datagram', () => {
  fc.assert(
    fc.property(
      fc.nat(2 ** 32 - 1),
      fc.uint8Array({ minLength: 1, maxLength: 100 }),
      fc.nat(9),
      (peer, datagram, at) => {
        const room = new Uint8Array(at + RELAY_FRAME.payload + datagram.length);
        writeFrameHeader(room, at, peer);
        room.set(datagram, at + RELAY_FRAME.payload);
        assert.deepEqual(openFrame(room.subarray(at)), { peer, datagram });
      },
    ),
  );
  const empty = new Uint8Array(RELAY_FRAME.payload);
  writeFrameHeader(empty, 0, 1);
  assert.equal(openFrame(empty), undefined, 'a frame without a datagram');
  assert.equal(openFrame(new Uint8Array(20)), undefined, 'a frame without magic');
});

test('the relay forwards only well-formed WireGuard messages and probes', () => {
  const may = (length: number, first: number): boolean => {
    const view = new DataView(new ArrayBuffer(length));
    if (length >= 4) view.setInt32(0, first, true);
    return mayBeRelayed(view, 0, length);
  };
  assert.ok(may(32, MESSAGE_TYPE.transport));
  assert.ok(may(148, MESSAGE_TYPE.initiation));
  assert.ok(may(RELAY_FRAME.maxPayload, MESSAGE_TYPE.transport));
  assert.ok(!may(RELAY_FRAME.maxPayload + 1, MESSAGE_TYPE.transport));
  assert.ok(!may(147, MESSAGE_TYPE.initiation));
  assert.ok(may(100, MAGIC.probe) && may(256, MAGIC.probe) && !may(257, MAGIC.probe));
  for (const first of [MAGIC.relay, MAGIC.control, 0, 5, 0x47455420 /* GET */]) assert.ok(!may(100, first));
  for (const length of [0, 1, 3]) assert.ok(!may(length, 0));
});
