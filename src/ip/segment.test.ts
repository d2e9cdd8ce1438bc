import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { makePacket, makeSuperPacket, type PacketShape } from '../../tests/kit/packets.js';
import { segmentReference } from '../../tests/kit/segment-reference.js';
import { sumReference, wordSum } from './checksum.js';
import { IPV6, TCP, TCP_FLAG } from './packet.js';
import { Segmenter } from './segment.js';
import { GSO, GSO_ECN, NEEDS_CHECKSUM, VIRTIO } from './virtio.js';

/** Segments in place: the packet is at `offset` at the end of an arena. */
function cut(input: Uint8Array, offset = 16): Uint8Array[] {
  const bytes = new Uint8Array(offset + input.length);
  bytes.set(input, offset);
  const segmenter = new Segmenter({ bytes, view: new DataView(bytes.buffer) }, wordSum(bytes));
  const count = segmenter.start(offset, input.length);
  const segments: Uint8Array[] = [];
  while (segmenter.next()) segments.push(bytes.slice(segmenter.packet, segmenter.packet + segmenter.length));
  assert.equal(segments.length, count);
  assert.equal(segmenter.next(), false);
  return segments;
}

const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i * 31 + (i >> 8));

const shapes: fc.Arbitrary<PacketShape> = fc.record({
  version: fc.constantFrom(4 as const, 6 as const),
  protocol: fc.constantFrom('tcp' as const, 'udp' as const),
  payload: fc.integer({ min: 1, max: 9000 }).map(pattern),
  trafficClass: fc.nat(255),
  identification: fc.nat(0xffff),
  dontFragment: fc.boolean(),
  sequence: fc.nat(0xffffffff),
  flags: fc.nat(255),
  options: fc.nat(10).map((words) => pattern(words * 4)),
});

test('segmenting in place agrees with the reference', () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: 1, max: 3000 }), fc.nat(7), (shape, gsoSize, offset) => {
      const input = makeSuperPacket(shape, Math.max(gsoSize, Math.ceil(shape.payload.length / 100)));
      assert.deepEqual(cut(input, offset), segmentReference(input));
    }),
    { numRuns: 500 },
  );
});

test('the largest packets of both families are segmented', () => {
  for (const version of [4, 6] as const) {
    const payload = pattern(65_535 - (version === 4 ? 40 : 20));
    for (const gsoSize of [1240, 1380, 8960, 65_000]) {
      const input = makeSuperPacket({ version, payload }, gsoSize);
      assert.deepEqual(cut(input), segmentReference(input));
    }
  }
});

test('segments smaller than their headers are made like any others', () => {
  for (const gsoSize of [1, 2, 7, 19]) {
    const input = makeSuperPacket({ payload: pattern(50), options: pattern(40) }, gsoSize);
    assert.deepEqual(cut(input), segmentReference(input));
  }
});

test('PSH and FIN stay on the last segment, CWR on the first', () => {
  const { ack, psh, fin, cwr, ece } = TCP_FLAG;
  const input = makeSuperPacket({ payload: pattern(300), flags: ack | psh | fin | cwr | ece }, 100);
  input[VIRTIO.gsoType]! |= GSO_ECN;
  assert.deepEqual(
    cut(input).map((segment) => segment[20 + TCP.flags]),
    [ack | ece | cwr, ack | ece, ack | ece | psh | fin],
  );
});

test('a packet that needs no work stays unchanged', () => {
  const packet = makePacket({ payload: pattern(99) });
  const input = new Uint8Array(VIRTIO.length + packet.length);
  input.set(packet, VIRTIO.length);
  assert.deepEqual(cut(input), [packet]);
});

test('the partial checksum of an unsegmented packet is completed', () => {
  for (const version of [4, 6] as const) {
    for (const protocol of ['tcp', 'udp'] as const) {
      const shape = { version, protocol, payload: pattern(77) };
      const input = makeSuperPacket(shape, 0);
      input[VIRTIO.gsoType] = GSO.none;
      assert.deepEqual(cut(input), [makePacket(shape)]);
      assert.deepEqual(cut(input), segmentReference(input));
    }
  }
});

test('the header length comes from the packet, not from the virtio header', () => {
  const input = makeSuperPacket({ payload: pattern(500) }, 100);
  const expected = segmentReference(input);
  new DataView(input.buffer).setUint16(VIRTIO.headerLength, 140, true);
  assert.deepEqual(cut(input), expected);
});

test('without NEEDS_CSUM the checksums of segments are computed from the addresses', () => {
  const input = makeSuperPacket({ version: 6, protocol: 'udp', payload: pattern(500) }, 100);
  const expected = segmentReference(input);
  input[VIRTIO.flags] = 0;
  assert.deepEqual(cut(input), expected);
});

test('IPv6 extension headers are repeated in every segment', () => {
  const plain = makeSuperPacket({ version: 6, payload: pattern(300) }, 100);
  const extended = new Uint8Array(plain.length + 8);
  extended.set(plain.subarray(0, VIRTIO.length + IPV6.headerLength));
  extended.set([TCP_PROTOCOL, 0, 1, 4, 0, 0, 0, 0], VIRTIO.length + IPV6.headerLength);
  extended.set(plain.subarray(VIRTIO.length + IPV6.headerLength), VIRTIO.length + IPV6.headerLength + 8);
  const view = new DataView(extended.buffer);
  view.setUint8(VIRTIO.length + IPV6.nextHeader, 60);
  view.setUint16(VIRTIO.length + IPV6.payloadLength, extended.length - VIRTIO.length - IPV6.headerLength);
  view.setUint16(VIRTIO.checksumStart, IPV6.headerLength + 8, true);
  const segments = cut(extended);
  assert.deepEqual(
    segments.map((segment) => Uint8Array.of(...segment.slice(48))),
    segmentReference(plain).map((segment) => Uint8Array.of(...segment.slice(40))),
  );
  assert.ok(segments.every((segment) => segment[40] === TCP_PROTOCOL && segment[43] === 4));
});
const TCP_PROTOCOL = 6;

type Change = (input: Uint8Array, view: DataView) => unknown;

test('malformed packets and unknown kinds are refused', () => {
  const refused = (change: Change, shape: Partial<PacketShape> = {}) => {
    const input = makeSuperPacket({ payload: pattern(300), ...shape }, 100);
    change(input, new DataView(input.buffer));
    assert.deepEqual(cut(input), []);
  };
  const u16 = (at: number, value: number) => (_: Uint8Array, view: DataView) =>
    view.setUint16(at, value, true);
  const u8 = (at: number, value: number) => (input: Uint8Array) => input.fill(value, at, at + 1);
  refused(u16(VIRTIO.gsoSize, 0));
  refused(u16(VIRTIO.headerLength, 341));
  refused(u16(VIRTIO.checksumStart, 19));
  refused(u16(VIRTIO.checksumStart, 0xffff));
  refused(u16(VIRTIO.checksumStart, 0xfff8), { version: 6 });
  refused(u16(VIRTIO.checksumStart, 41), { version: 6 });
  refused(u16(VIRTIO.checksumOffset, 6));
  refused(u16(VIRTIO.checksumOffset, 0xffff));
  refused(u8(VIRTIO.gsoType, GSO.tcp6));
  refused(u8(VIRTIO.gsoType, GSO.udp));
  refused(u8(VIRTIO.gsoType, 3)); // UFO, which is not enabled
  refused(u8(VIRTIO.length + 6, 0x20)); // a fragment
  refused(u8(VIRTIO.length + 20 + TCP.dataOffset, 0x40));
  refused(u8(VIRTIO.length + 3, 1)); // total length
  const whole = (change: Change) =>
    refused((input, view) => {
      input[VIRTIO.gsoType] = GSO.none;
      change(input, view);
    });
  whole(u16(VIRTIO.checksumStart, 19));
  whole(u16(VIRTIO.checksumStart, 340));
  whole(u16(VIRTIO.checksumOffset, 319));
});

test('a packet without payload is refused', () => {
  assert.deepEqual(cut(makeSuperPacket({ payload: new Uint8Array(0) }, 100)), []);
});

test('random bytes are segmented or refused without a read or write beyond them', () => {
  const garbage = fc.record({
    packet: fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      shapes.map((shape) => makeSuperPacket({ ...shape, payload: shape.payload.slice(0, 300) }, 100)),
    ),
    changes: fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { maxLength: 4 }),
    length: fc.nat(400),
    offset: fc.nat(20),
  });
  fc.assert(
    fc.property(garbage, ({ packet, changes, length, offset }) => {
      const bytes = new Uint8Array(offset + packet.length + 10).fill(0xaa);
      bytes.set(packet, offset);
      for (const [at, value] of changes) if (at < packet.length) bytes[offset + at] = value;
      const end = offset + packet.length;
      const inside = (from: number, size: number) =>
        assert.ok(from >= offset && size >= 0 && from + size <= Math.max(offset + length, end));
      const sum = (from: number, size: number) => {
        inside(from, size);
        return sumReference(bytes, from, size);
      };
      const segmenter = new Segmenter({ bytes, view: new DataView(bytes.buffer) }, sum);
      for (const size of [packet.length, length]) {
        segmenter.start(offset, size);
        while (segmenter.next()) inside(segmenter.packet, segmenter.length);
      }
      if (length <= packet.length) assert.ok(bytes.subarray(end).every((byte) => byte === 0xaa));
      assert.equal(segmenter.start(offset, bytes.length + 1), 0);
      assert.equal(segmenter.start(-1, 60), 0);
    }),
    { numRuns: 3000 },
  );
});

test('NEEDS_CSUM with a field in the IP header is refused', () => {
  const input = makeSuperPacket({ payload: pattern(30) }, 0);
  input.set([NEEDS_CHECKSUM, GSO.none], VIRTIO.flags);
  new DataView(input.buffer).setUint16(VIRTIO.checksumStart, 0, true);
  assert.deepEqual(cut(input), []);
});
