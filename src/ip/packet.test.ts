import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { IPV4, IPV6, PROTOCOL, summarize, wholePacket } from './packet.js';

function ipv4(length: number, headerLength = 20, totalLength = length): DataView {
  const view = new DataView(new ArrayBuffer(length));
  view.setUint8(0, 0x40 | (headerLength / 4));
  view.setUint16(IPV4.totalLength, totalLength);
  return view;
}

function ipv6(length: number, payloadLength = length - 40): DataView {
  const view = new DataView(new ArrayBuffer(length));
  view.setUint8(0, 0x60);
  view.setUint16(IPV6.payloadLength, payloadLength);
  return view;
}

test('a packet is whole if its length field matches', () => {
  assert.equal(wholePacket(ipv4(20), 0, 20), 4);
  assert.equal(wholePacket(ipv4(60, 60), 0, 60), 4);
  assert.equal(wholePacket(ipv6(40), 0, 40), 6);
  assert.equal(wholePacket(ipv6(1280), 0, 1280), 6);
});

test('a packet with a wrong length field is not whole', () => {
  assert.equal(wholePacket(ipv4(40, 20, 39), 0, 40), 0);
  assert.equal(wholePacket(ipv4(40, 20, 41), 0, 40), 0);
  assert.equal(wholePacket(ipv4(40, 44), 0, 40), 0);
  assert.equal(wholePacket(ipv4(40, 16), 0, 40), 0);
  assert.equal(wholePacket(ipv6(48, 9), 0, 48), 0);
});

test('random bytes of any length cause no error, and short ones are not packets', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(60), (bytes, offset) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const length = Math.max(0, bytes.length - offset);
      const version = wholePacket(view, offset, length);
      if (length < 20) assert.equal(version, 0);
      // Nor if the caller passes too large a length.
      assert.equal(wholePacket(view, offset, length + 1 + offset), 0);
    }),
    { numRuns: 2000 },
  );
});

test('a summary has addresses, protocol and ports', () => {
  const packet = new Uint8Array(28);
  packet.set([
    0x45,
    0,
    0,
    28,
    0,
    0,
    0,
    0,
    64,
    PROTOCOL.udp,
    0,
    0,
    10,
    0,
    0,
    2,
    10,
    0,
    0,
    1,
    0x30,
    0x39,
    0,
    53,
  ]);
  assert.deepEqual(summarize(packet), {
    version: 4,
    source: Uint8Array.of(10, 0, 0, 2),
    destination: Uint8Array.of(10, 0, 0, 1),
    protocol: PROTOCOL.udp,
    ports: { source: 12345, destination: 53 },
  });
});

test('a later fragment has no ports, whatever its bytes', () => {
  const packet = new Uint8Array(28);
  packet.set([0x45, 0, 0, 28, 0, 0, 0x00, 0x10, 64, PROTOCOL.udp]);
  assert.equal(summarize(packet)?.ports, undefined);
});

test('a summary of random bytes never throws', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => void summarize(bytes)),
    { numRuns: 2000 },
  );
});
