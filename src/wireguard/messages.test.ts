import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ECN, ECN_DROP, ecnDecapsulate, ecnEncapsulate } from './ecn.js';
import { innerLength } from './inner.js';
import { messageType, paddingOf, readCounter, writeCounter } from './messages.js';

const typeOf = (first: number, length: number): number => {
  const view = new DataView(new ArrayBuffer(Math.max(4, length)));
  view.setUint32(0, first, true);
  return messageType(view, 0, length);
};

test('a message is recognized by its type, reserved zeros and length', () => {
  assert.equal(typeOf(1, 148), 1);
  assert.equal(typeOf(2, 92), 2);
  assert.equal(typeOf(3, 64), 3);
  for (const length of [32, 33, 48, 1452, 65_535]) assert.equal(typeOf(4, length), 4);
});

test('other types, reserved bytes and lengths are not messages', () => {
  for (const [first, length] of [
    [1, 147],
    [1, 149],
    [2, 91],
    [2, 148],
    [3, 63],
    [4, 31],
    [4, 0],
    [0, 64],
    [5, 64],
    [0x101, 148],
    [0x01000004, 64],
  ] as const) {
    assert.equal(typeOf(first, length), 0, `${first} ${length}`);
  }
});

test('counters are exact below 2^53, and refused above', () => {
  const view = new DataView(new ArrayBuffer(16));
  for (const counter of [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1]) {
    writeCounter(view, 8, counter);
    assert.equal(readCounter(view, 8), counter);
    assert.equal(view.getBigUint64(8, true), BigInt(counter));
  }
  for (const counter of [2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
    view.setBigUint64(8, counter, true);
    assert.ok(readCounter(view, 8) >= 2 ** 53);
  }
});

test('padding extends to a multiple of 16, but not beyond the MTU', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9000 }), fc.integer({ min: 576, max: 9000 }), (length, mtu) => {
      const padded = length + paddingOf(length, mtu);
      assert.ok(padded >= length && padded - length < 16);
      assert.ok(padded % 16 === 0 || padded === Math.max(mtu, length));
      assert.ok(length > mtu || padded <= mtu);
    }),
  );
  assert.equal(paddingOf(1420, 1420), 0);
  assert.equal(paddingOf(1410, 1420), 10);
  assert.equal(paddingOf(0, 1420), 0);
});

test('an inner packet with a wrong length field is refused', () => {
  const ipv4 = (length: number, total: number): Uint8Array => {
    const packet = new Uint8Array(total);
    packet.set([0x45, 0, length >> 8, length & 0xff]);
    return packet;
  };
  assert.equal(innerLength(ipv4(20, 32)), 20);
  assert.equal(innerLength(ipv4(32, 32)), 32);
  assert.equal(innerLength(ipv4(33, 32)), 0);
  assert.equal(innerLength(ipv4(19, 32)), 0);
  assert.equal(innerLength(ipv4(19, 19)), 0);
  const ipv6 = (payload: number, total: number): Uint8Array => {
    const packet = new Uint8Array(total);
    packet.set([0x60, 0, 0, 0, payload >> 8, payload & 0xff]);
    return packet;
  };
  assert.equal(innerLength(ipv6(8, 48)), 48);
  assert.equal(innerLength(ipv6(0, 48)), 40);
  assert.equal(innerLength(ipv6(9, 48)), 0);
  assert.equal(innerLength(ipv6(0, 39)), 0);
  assert.equal(innerLength(Uint8Array.of(0x50, 0, 0, 20, ...new Array(40).fill(0))), 0);
  assert.equal(innerLength(new Uint8Array(0)), 0);
});

test('congestion marks are combined as in RFC 6040, figure 4', () => {
  const { notEct, ect0, ect1, ce } = ECN;
  const rows = [
    [notEct, notEct, notEct, notEct, ECN_DROP],
    [ect0, ect0, ect0, ect1, ce],
    [ect1, ect1, ect1, ect1, ce],
    [ce, ce, ce, ce, ce],
  ] as const;
  for (const [inner, ...expected] of rows) {
    const outers = [notEct, ect0, ect1, ce].map((outer) => ecnDecapsulate(0xb8 | inner, 0x40 | outer));
    assert.deepEqual(outers, expected);
    assert.equal(ecnEncapsulate(0xb8 | inner), inner);
  }
});
