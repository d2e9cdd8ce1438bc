import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkDatagram, MAX_MTU, tunnelMtu } from './wire.js';

test('the default MTU leaves room for IP, UDP and packet information', () => {
  assert.equal(tunnelMtu(1500, 4), 1468);
  assert.equal(tunnelMtu(1500, 6), 1448);
  assert.equal(tunnelMtu(undefined, 4), 1468);
  assert.equal(tunnelMtu(65_536, 4), MAX_MTU);
});

function datagram(etherType: number, packet: readonly number[], flags = 0): DataView {
  return new DataView(
    Uint8Array.of(flags >> 8, flags & 0xff, etherType >> 8, etherType & 0xff, ...packet).buffer,
  );
}
const IPV4_PACKET = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1];
const IPV6_PACKET = [0x60, 0, 0, 0, 0, 0, 59, 64, ...Array(32).fill(0)];

test('a datagram contains packet information and one whole packet', () => {
  assert.equal(checkDatagram(datagram(0x0800, IPV4_PACKET), 0, 24), 4);
  assert.equal(checkDatagram(datagram(0x86dd, IPV6_PACKET), 0, 44), 6);
});

test('packet information with another protocol, or with flags, is refused', () => {
  assert.equal(checkDatagram(datagram(0x86dd, IPV4_PACKET), 0, 24), 0);
  assert.equal(checkDatagram(datagram(0x0800, IPV6_PACKET), 0, 44), 0);
  assert.equal(checkDatagram(datagram(0x0806, IPV4_PACKET), 0, 24), 0);
  assert.equal(checkDatagram(datagram(0x0800, IPV4_PACKET, 1), 0, 24), 0);
});

test('a truncated or overlong datagram is refused', () => {
  const whole = datagram(0x0800, [...IPV4_PACKET, 0]);
  for (let length = 0; length < 24; length++) assert.equal(checkDatagram(whole, 0, length), 0);
  assert.equal(checkDatagram(whole, 0, 25), 0);
});

test('random datagrams cause no error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      checkDatagram(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
    }),
    { numRuns: 5000 },
  );
});
