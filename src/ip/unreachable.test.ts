import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fixIpv4Checksum, makePacket } from '../../tests/kit/packets.js';
import { pseudoHeaderSum, sumReference } from './checksum.js';
import { IPV4, IPV6, PROTOCOL, wholePacket } from './packet.js';
import { UNREACHABLE_LENGTH, writeUnreachable } from './unreachable.js';

const arenaOf = (bytes: Uint8Array) => ({ bytes, view: new DataView(bytes.buffer) });

/** The answer to a packet, or undefined. Both are in the middle of a larger buffer. */
function answerTo(packet: Uint8Array): Uint8Array | undefined {
  const from = new Uint8Array(packet.length + 7).fill(0xee);
  from.set(packet, 3);
  const out = new Uint8Array(UNREACHABLE_LENGTH + 10).fill(0xdd);
  const version = wholePacket(new DataView(from.buffer), 3, packet.length);
  assert.notEqual(version, 0, 'the packet is not whole');
  const length = writeUnreachable(arenaOf(from), 3, version as 4 | 6, packet.length, arenaOf(out), 10);
  return length === 0 ? undefined : out.slice(10, 10 + length);
}

const anything = fc.record({
  version: fc.constantFrom(4 as const, 6 as const),
  protocol: fc.constantFrom('tcp' as const, 'udp' as const),
  source: fc.integer({ min: 1, max: 255 }),
  destination: fc.integer({ min: 1, max: 255 }),
  payload: fc.uint8Array({ maxLength: 2000, size: 'max' }),
});

test('the answer is a valid packet from the destination to the source, and quotes as much as fits', () => {
  fc.assert(
    fc.property(anything, (shape) => {
      const packet = makePacket(shape);
      const answer = answerTo(packet)!;
      const view = new DataView(answer.buffer);
      assert.equal(wholePacket(view, 0, answer.length), shape.version);
      const [layout, size, header] =
        shape.version === 4 ? ([IPV4, 4, IPV4.minLength] as const) : ([IPV6, 16, IPV6.headerLength] as const);
      const address = (bytes: Uint8Array, at: number): Uint8Array => bytes.slice(at, at + size);
      assert.deepEqual(address(answer, layout.source), address(packet, layout.destination));
      assert.deepEqual(address(answer, layout.destination), address(packet, layout.source));
      const quoted = answer.subarray(header + 8);
      const most = (shape.version === 4 ? 576 : 1280) - header - 8;
      assert.equal(quoted.length, Math.min(packet.length, most));
      assert.deepEqual(quoted, packet.subarray(0, quoted.length));
      assert.deepEqual([...answer.subarray(header + 4, header + 8)], [0, 0, 0, 0], 'unused');
      const payload = answer.length - header;
      const sum = sumReference(answer, header, payload);
      if (shape.version === 4) {
        assert.deepEqual([answer[IPV4.protocol], answer[header], answer[header + 1]], [PROTOCOL.icmp, 3, 1]);
        assert.equal(sumReference(answer, 0, header), 0xffff);
        assert.equal(sum, 0xffff);
      } else {
        assert.deepEqual(
          [answer[IPV6.nextHeader], answer[header], answer[header + 1]],
          [PROTOCOL.icmpv6, 1, 3],
        );
        assert.equal((sum + pseudoHeaderSum(view, 0, PROTOCOL.icmpv6, payload)) % 0xffff, 0);
      }
    }),
  );
});

/** An IPv4 packet with changed bytes. */
const v4 = (change: Readonly<Record<number, readonly number[]>>): Uint8Array => changed(4, change);
const v6 = (change: Readonly<Record<number, readonly number[]>>): Uint8Array => changed(6, change);
function changed(version: 4 | 6, change: Readonly<Record<number, readonly number[]>>): Uint8Array {
  const packet = makePacket({ version, protocol: 'udp', payload: new Uint8Array(40) });
  for (const [at, bytes] of Object.entries(change)) packet.set(bytes, Number(at));
  return version === 4 ? fixIpv4Checksum(packet) : packet;
}
const address6 = (first: number, last: number): number[] => [first, ...new Array<number>(14).fill(0), last];

test('IPv4: errors, later fragments, and packets from or to non-unicast addresses are not answered', () => {
  const answered: Readonly<Record<string, Uint8Array>> = {
    'a usual packet': v4({}),
    'a first fragment': v4({ [IPV4.fragment]: [0x20, 0] }),
    'an echo request': v4({ [IPV4.protocol]: [PROTOCOL.icmp], 20: [8] }),
    'another behind options': v4({ 0: [0x46], [IPV4.protocol]: [PROTOCOL.icmp], 24: [8] }),
  };
  for (const [what, packet] of Object.entries(answered)) assert.ok(answerTo(packet), what);
  const silent: Readonly<Record<string, Uint8Array>> = {
    'a later fragment': v4({ [IPV4.fragment]: [0, 1] }),
    multicast: v4({ [IPV4.destination]: [224, 0, 0, 251] }),
    broadcast: v4({ [IPV4.destination]: [255, 255, 255, 255] }),
    'no source yet': v4({ [IPV4.source]: [0, 0, 0, 0] }),
    'a loopback source': v4({ [IPV4.source]: [127, 0, 0, 1] }),
    'a multicast source': v4({ [IPV4.source]: [239, 1, 1, 1] }),
    'an error behind options': v4({ 0: [0x46], [IPV4.protocol]: [PROTOCOL.icmp], 24: [3] }),
    'an ICMP message without a type': v4({ 0: [0x4f], 2: [0, 60], [IPV4.protocol]: [PROTOCOL.icmp] }).slice(
      0,
      60,
    ),
  };
  for (const type of [3, 4, 5, 11, 12, 19, 255]) {
    assert.equal(answerTo(v4({ [IPV4.protocol]: [PROTOCOL.icmp], 20: [type] })), undefined, `type ${type}`);
  }
  for (const [what, packet] of Object.entries(silent)) assert.equal(answerTo(packet), undefined, what);
});

test('IPv6: the same, wherever the payload begins after extension headers', () => {
  const next = IPV6.nextHeader;
  const answered: Readonly<Record<string, Uint8Array>> = {
    'a usual packet': v6({}),
    'an echo request': v6({ [next]: [PROTOCOL.icmpv6], 40: [128] }),
    'one behind hop-by-hop options': v6({ [next]: [0], 40: [PROTOCOL.icmpv6, 0], 48: [128] }),
    'a first fragment': v6({ [next]: [44], 40: [PROTOCOL.udp, 0, 0, 1] }),
    'a link-local source': v6({ [IPV6.source]: [0xfe, 0x80] }),
  };
  for (const [what, packet] of Object.entries(answered)) assert.ok(answerTo(packet), what);
  const silent: Readonly<Record<string, Uint8Array>> = {
    'an error': v6({ [next]: [PROTOCOL.icmpv6], 40: [1] }),
    'a redirect': v6({ [next]: [PROTOCOL.icmpv6], 40: [137] }),
    'an error behind two headers': v6({ [next]: [0], 40: [60, 0], 48: [PROTOCOL.icmpv6, 1], 64: [2] }),
    'a later fragment': v6({ [next]: [44], 40: [PROTOCOL.udp, 0, 0, 8] }),
    'headers that lead beyond the end': v6({ [next]: [0], 40: [PROTOCOL.icmpv6, 200] }),
    'headers without end': v6({ [next]: [60], 40: [60, 200] }),
    multicast: v6({ [IPV6.destination]: address6(0xff, 2) }),
    'no source yet': v6({ [IPV6.source]: address6(0, 0) }),
    'a loopback source': v6({ [IPV6.source]: address6(0, 1) }),
    'a multicast source': v6({ [IPV6.source]: address6(0xff, 2) }),
  };
  for (const [what, packet] of Object.entries(silent)) assert.equal(answerTo(packet), undefined, what);
});

test('an answer is never answered, so two machines cannot loop', () => {
  fc.assert(
    fc.property(anything, (shape) => {
      assert.equal(answerTo(answerTo(makePacket(shape))!), undefined);
    }),
  );
});

test('no packet causes a read or write beyond the given memory', () => {
  const version = fc.constantFrom(4 as const, 6 as const);
  fc.assert(
    fc.property(version, fc.uint8Array({ minLength: 40, maxLength: 200, size: 'max' }), (ip, bytes) => {
      const packet = Uint8Array.from(bytes);
      const view = new DataView(packet.buffer);
      packet[0] = ip === 4 ? 0x45 + (packet[0]! % 6) : 0x60;
      if (ip === 4) view.setUint16(IPV4.totalLength, packet.length);
      else view.setUint16(IPV6.payloadLength, packet.length - IPV6.headerLength);
      const memory = arenaOf(new Uint8Array(UNREACHABLE_LENGTH));
      assert.ok(writeUnreachable(arenaOf(packet), 0, ip, packet.length, memory, 0) <= UNREACHABLE_LENGTH);
    }),
    { numRuns: 1000 },
  );
});
