import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fixIpv4Checksum, makePacket, type PacketShape } from '../../tests/kit/packets.js';
import { SeededRandom } from '../../tests/kit/random.js';
import { segmentReference } from '../../tests/kit/segment-reference.js';
import { sumReference, wordSum } from './checksum.js';
import { Coalescer, type CoalescerOptions, MAX_PACKETS } from './coalesce.js';
import { IPV4, IPV6, TCP, TCP_FLAG, UDP } from './packet.js';
import { Segmenter } from './segment.js';
import { GSO, GSO_ECN, VIRTIO } from './virtio.js';

const { ack, psh, fin, syn, rst, urg, ece, cwr } = TCP_FLAG;

/**
 * Merges packets that lie in an arena like received datagrams.
 *
 * @param gap bytes between two packets; if a header does not fit in, each group is written when it is used
 * @returns the groups
 */
function coalesce(packets: readonly Uint8Array[], options?: CoalescerOptions, gap = 16): Uint8Array[] {
  const room = packets.reduce((sum, packet) => sum + packet.length + 40, 64);
  const bytes = new Uint8Array(room).fill(0x5a);
  const coalescer = new Coalescer({ bytes, view: new DataView(bytes.buffer) }, wordSum(bytes), options);
  coalescer.begin();
  let at = 16;
  for (const [i, packet] of packets.entries()) {
    bytes.set(packet, at);
    assert.ok(coalescer.add(at, packet.length));
    at += packet.length + gap + (i % 5);
  }
  const late = gap < VIRTIO.length;
  if (late) coalescer.arrange();
  else coalescer.finish();
  return Array.from({ length: coalescer.groupCount }, (_, group) => {
    if (late) coalescer.prepare(group);
    const pieces = Array.from({ length: coalescer.pieceCount(group) }, (_, piece) => {
      const offset = coalescer.pieceOffset(group, piece);
      return bytes.slice(offset, offset + coalescer.pieceLength(group, piece));
    });
    const merged = Uint8Array.from(Buffer.concat(pieces));
    const apart = segmentReference(merged).reduce((sum, { length }) => sum + length, 0);
    assert.equal(coalescer.packetBytes(group), apart);
    return merged;
  });
}

/** The group, segmented by the fast segmenter. */
function cut(group: Uint8Array): Uint8Array[] {
  const bytes = group.slice();
  const segmenter = new Segmenter({ bytes, view: new DataView(bytes.buffer) }, wordSum(bytes));
  assert.notEqual(segmenter.start(0, bytes.length), 0);
  const segments: Uint8Array[] = [];
  while (segmenter.next()) segments.push(bytes.slice(segmenter.packet, segmenter.packet + segmenter.length));
  return segments;
}

/** Addresses, ports and protocol, as text. */
function flowOf(packet: Uint8Array): string {
  return packet[0]! >> 4 === 4
    ? `${packet[IPV4.protocol]} ${packet.slice(12, 24)}`
    : `${packet[IPV6.nextHeader]} ${packet.slice(8, 44)}`;
}

/** Clears the IPv4 identification where it is meaningless, RFC 6864: merging may turn equal ones into ascending ones. */
function withoutIdentification(packet: Uint8Array): Uint8Array {
  if (packet[0] !== 0x45 || (packet[IPV4.fragment]! & 0x40) === 0) return packet;
  if (sumReference(packet, 0, 20) !== 0xffff) return packet;
  const copy = packet.slice();
  copy.fill(0, IPV4.identification, IPV4.identification + 2);
  return fixIpv4Checksum(copy);
}

const pattern = (length: number, from = 0): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i + from) * 31 + ((i + from) >> 8));

/** `count` consecutive packets of one flow, each with the changes from `change`. */
function stream(
  count: number,
  size: number,
  shape: Partial<PacketShape> = {},
  change: (index: number) => Partial<PacketShape> = () => ({}),
): Uint8Array[] {
  return Array.from({ length: count }, (_, i) =>
    makePacket({
      identification: 100 + i,
      sequence: ((shape.sequence ?? 1000) + i * size) >>> 0,
      ...without(shape, 'sequence'),
      payload: pattern(size, i),
      ...change(i),
    }),
  );
}
const without = <T extends object, K extends keyof T>(object: T, key: K): Omit<T, K> => {
  const { [key]: _, ...rest } = object;
  return rest;
};

const families = [4, 6] as const;
const protocols = ['tcp', 'udp'] as const;
const sizesOf = (groups: readonly Uint8Array[]): number[] =>
  groups.map((group) => segmentReference(group).length);

test('full segments and a smaller last one become one packet, which is segmented into the same packets', () => {
  for (const version of families) {
    for (const protocol of protocols) {
      const packets = [
        ...stream(10, 1368, { version, protocol }),
        ...stream(1, 7, { version, protocol, sequence: 1000 + 13_680, identification: 110 }),
      ];
      const groups = coalesce(packets);
      assert.equal(groups.length, 1);
      assert.deepEqual(segmentReference(groups[0]!), packets);
      assert.deepEqual(cut(groups[0]!), packets);
    }
  }
});

test('the virtio header describes the segments', () => {
  const [group] = coalesce(stream(3, 1000, { version: 6, options: pattern(12) }));
  const view = new DataView(group!.buffer);
  assert.deepEqual([...group!.subarray(0, 2)], [1, GSO.tcp6]);
  assert.deepEqual(
    [2, 4, 6, 8].map((at) => view.getUint16(at, true)),
    [72, 1000, 40, 16],
  );
  assert.equal(view.getUint16(VIRTIO.length + IPV6.payloadLength), 32 + 3000);
});

test('a single packet passes with a header of zeros', () => {
  for (const packet of [...stream(1, 100), ...stream(1, 100, { protocol: 'udp' }), pattern(33), pattern(3)]) {
    assert.deepEqual(coalesce([packet]), [Uint8Array.of(...new Uint8Array(10), ...packet)]);
  }
});

test('interleaved flows are merged separately, in the order of their first packets', () => {
  const a = stream(5, 500, { sourcePort: 1 });
  const b = stream(5, 400, { sourcePort: 2, version: 6 });
  const c = stream(5, 300, { sourcePort: 3, protocol: 'udp' });
  const groups = coalesce([0, 1, 2, 3, 4].flatMap((i) => [a[i]!, b[i]!, c[i]!]));
  assert.deepEqual(groups.map(segmentReference), [a, b, c]);
});

test('PSH and FIN end a group and are kept', () => {
  for (const flag of [psh, fin, psh | fin]) {
    const packets = stream(6, 200, {}, (i) => (i === 3 ? { flags: ack | flag } : {}));
    const groups = coalesce(packets);
    assert.deepEqual(sizesOf(groups), [4, 2]);
    assert.deepEqual(groups.flatMap(segmentReference), packets);
  }
});

test('the sequence number and the identification may wrap, and the merged length may reach its limit', () => {
  assert.deepEqual(sizesOf(coalesce(stream(5, 200, { sequence: 0xffffff00 }))), [5]);
  const wrapping = stream(5, 200, { dontFragment: false }, (i) => ({
    identification: (0xfffe + i) & 0xffff,
  }));
  assert.deepEqual(coalesce(wrapping).flatMap(segmentReference), wrapping);
  assert.deepEqual(sizesOf(coalesce(wrapping)), [5]);
  for (const version of families) {
    const packets = stream(60, 1368, { version, options: pattern(12) });
    assert.deepEqual(sizesOf(coalesce(packets)), [47, 13]);
    const huge = stream(3, 32_000, { version });
    assert.deepEqual(sizesOf(coalesce(huge)), [2, 1]);
  }
});

test('equal identifications are merged only with DF, and then all must be equal', () => {
  const at = (ids: number[], dontFragment: boolean) =>
    sizesOf(coalesce(stream(ids.length, 100, { dontFragment }, (i) => ({ identification: ids[i]! }))));
  assert.deepEqual(at([0, 0, 0, 0], true), [4]);
  assert.deepEqual(at([0, 0, 1, 1], true), [2, 2]);
  assert.deepEqual(at([0, 1, 1, 2], true), [2, 2]);
  assert.deepEqual(at([0, 0, 0], false), [1, 1, 1]);
  assert.deepEqual(at([7, 8, 9], false), [3]);
  assert.deepEqual(at([7, 9, 11], false), [1, 1, 1]);
});

test('the number of merged packets is limited', () => {
  assert.deepEqual(sizesOf(coalesce(stream(130, 10, { protocol: 'udp' }))), [64, 64, 2]);
  assert.deepEqual(sizesOf(coalesce(stream(130, 10))), [64, 64, 2]);
});

test('merging can be disabled for each protocol', () => {
  const packets = [...stream(3, 100), ...stream(3, 100, { protocol: 'udp' })];
  assert.deepEqual(sizesOf(coalesce(packets, { udp: false })), [3, 1, 1, 1]);
  assert.deepEqual(sizesOf(coalesce(packets, { tcp: false })), [1, 1, 1, 3]);
});

/** Changes to the second of three packets that keep it apart from the first. The third may join the second. */
const PARTING: Readonly<Record<string, Partial<PacketShape>>> = {
  'another source': { source: 9 },
  'another destination': { destination: 9 },
  'another port': { destinationPort: 9 },
  'another time to live': { hopLimit: 63 },
  'another traffic class': { trafficClass: 0x20 },
  'congestion experienced': { trafficClass: 3 },
  'a larger payload': { payload: pattern(101) },
};
const PARTING_TCP: Readonly<Record<string, Partial<PacketShape>>> = {
  'another acknowledgment': { acknowledgment: 2 },
  'another window': { window: 501 },
  'other options': { options: Uint8Array.of(1, 1, 1, 0) },
  'more options': { options: pattern(8) },
  'a gap': { sequence: 1101 },
  'a repetition': { sequence: 1000 },
  'no payload': { payload: new Uint8Array(0) },
  SYN: { flags: ack | syn },
  RST: { flags: ack | rst },
  URG: { flags: ack | urg },
  CWR: { flags: ack | cwr },
  ECE: { flags: ack | ece },
  'no ACK': { flags: 0 },
};

test('packets that segmentation could not restore stay apart', () => {
  for (const version of families) {
    for (const protocol of protocols) {
      const changes = protocol === 'tcp' ? { ...PARTING, ...PARTING_TCP } : PARTING;
      for (const [name, change] of Object.entries(changes)) {
        const packets = stream(2, 100, { version, protocol, options: pattern(4) }, (i) =>
          i === 1 ? change : {},
        );
        assert.equal(coalesce(packets).length, 2, `${name}, ${protocol}, IPv${version}`);
        assert.deepEqual(coalesce(packets).flatMap(segmentReference), packets);
      }
    }
  }
  assert.equal(coalesce(stream(2, 9, { version: 6 }, (i) => ({ flowLabel: i }))).length, 2, 'flow label');
  assert.equal(coalesce(stream(2, 9, {}, (i) => ({ dontFragment: i === 0 }))).length, 2, 'DF');
});

test('segments that all carry CWR, or SYN, URG, RST, PSH stay apart; ECE on all is merged', () => {
  for (const flag of [cwr, syn, urg, rst, psh, fin]) {
    assert.deepEqual(sizesOf(coalesce(stream(3, 100, { flags: ack | flag }))), [1, 1, 1]);
  }
  const packets = stream(3, 100, { flags: ack | ece });
  const groups = coalesce(packets);
  assert.deepEqual(groups.map(segmentReference), [packets]);
  assert.equal(groups[0]![VIRTIO.gsoType]! & GSO_ECN, 0);
});

/** Changes that prevent merging in any flow. */
const SPOILING: Readonly<Record<string, (packet: Uint8Array) => Uint8Array | undefined>> = {
  'a flipped bit of payload': (p) => flip(p, p.length - 1),
  'a flipped bit of the checksum': (p) => flip(p, (p[0] === 0x45 ? 20 : 40) + checksumOffset(p)),
  'a bad IPv4 header checksum': (p) => (p[0] === 0x45 ? flip(p, IPV4.checksum) : undefined),
  'a first fragment': (p) => (p[0] === 0x45 ? fixIpv4Checksum(put(p, IPV4.fragment, 0x20)) : undefined),
  'a later fragment': (p) => (p[0] === 0x45 ? fixIpv4Checksum(put(p, IPV4.fragment + 1, 8)) : undefined),
  'the reserved bit': (p) => (p[0] === 0x45 ? fixIpv4Checksum(put(p, IPV4.fragment, 0xc0)) : undefined),
  'IPv4 options': (p) => {
    if (p[0] !== 0x45) return undefined;
    const longer = Uint8Array.of(...p.subarray(0, 20), 1, 1, 1, 0, ...p.subarray(20));
    new DataView(longer.buffer).setUint16(IPV4.totalLength, longer.length);
    return fixIpv4Checksum(put(longer, 0, 0x46));
  },
  'an IPv6 extension header': (p) => {
    if (p[0] === 0x45) return undefined;
    const next = [p[IPV6.nextHeader]!, 0, 1, 4, 0, 0, 0, 0];
    const longer = Uint8Array.of(...p.subarray(0, 40), ...next, ...p.subarray(40));
    new DataView(longer.buffer).setUint16(IPV6.payloadLength, longer.length - 40);
    return put(longer, IPV6.nextHeader, 60);
  },
  'UDP without a checksum': (p) => {
    const at = p[0] === 0x45 ? 20 : 40;
    if (checksumOffset(p) !== UDP.checksum) return undefined;
    return put(put(p, at + UDP.checksum, 0), at + UDP.checksum + 1, 0);
  },
};
const checksumOffset = (packet: Uint8Array): number =>
  packet[packet[0] === 0x45 ? IPV4.protocol : IPV6.nextHeader] === 17 ? UDP.checksum : TCP.checksum;
const put = (packet: Uint8Array, at: number, value: number): Uint8Array =>
  packet.slice().fill(value, at, at + 1);
const flip = (packet: Uint8Array, at: number): Uint8Array => put(packet, at, packet[at]! ^ 4);

test('an unmergeable packet passes alone and unchanged at any position, and later packets do not overtake it', () => {
  for (const [name, spoil] of Object.entries(SPOILING)) {
    let tried = 0;
    for (const version of families) {
      for (const protocol of protocols) {
        for (const position of [0, 1, 2, 3]) {
          const packets = stream(5, 100, { version, protocol });
          const spoiled = spoil(packets[position]!);
          if (spoiled === undefined) continue;
          tried++;
          packets[position] = spoiled;
          const sizes = [position, 1, 4 - position].filter((size) => size > 0);
          const groups = coalesce(packets);
          assert.deepEqual(sizesOf(groups), sizes, `${name}, ${protocol}, IPv${version}, at ${position}`);
          assert.deepEqual(groups.flatMap(segmentReference), packets);
        }
      }
    }
    assert.ok(tried > 0, name);
  }
});

test('packets with a flipped bit in a port form another flow, and are not merged', () => {
  const packets = stream(4, 100, { version: 6 }).map((packet, i) => (i < 2 ? flip(packet, 43) : packet));
  assert.deepEqual(sizesOf(coalesce(packets)), [1, 1, 2]);
});

test('a packet with an inconsistent UDP length passes alone', () => {
  const packets = stream(3, 100, { protocol: 'udp' }).map((packet) => put(packet, 20 + UDP.length + 1, 50));
  assert.deepEqual(coalesce(packets).length, 3);
});

test('any mix of flows passes unchanged, with each flow in order', () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const packets = randomMix(new SeededRandom(seed));
      const groups = coalesce(packets);
      assert.deepEqual(coalesce(packets, {}, 4), groups, 'without room for a header before each packet');
      const out = groups.flatMap(segmentReference);
      const sort = (list: Uint8Array[]) => {
        const flows = new Map<string, string[]>();
        for (const packet of list) {
          const flow = flowOf(packet);
          flows.set(flow, [
            ...(flows.get(flow) ?? []),
            Buffer.from(withoutIdentification(packet)).toString('hex'),
          ]);
        }
        return flows;
      };
      assert.deepEqual(sort(out), sort(packets));
      for (const group of groups) {
        assert.ok(group.length <= VIRTIO.length + 65_535);
        assert.deepEqual(cut(group), segmentReference(group));
      }
    }),
    { numRuns: 100 },
  );
});

/** A few interleaved flows with MTUs from 1280 to 65 000, and some unusual packets. */
function randomMix(random: SeededRandom): Uint8Array[] {
  const flows = Array.from({ length: 1 + random.below(5) }, (_, i) => {
    const mtu = [1280, 1420, 1420, 9000, 65_000][random.below(5)]!;
    return {
      shape: {
        version: random.chance(0.5) ? (4 as const) : (6 as const),
        protocol: random.chance(0.6) ? ('tcp' as const) : ('udp' as const),
        sourcePort: i,
        dontFragment: random.chance(0.5),
        trafficClass: random.below(3),
        options: pattern(4 * random.below(4)),
      },
      size: random.chance(0.3) ? 1 + random.below(200) : mtu - 100,
      fixedId: random.chance(0.3),
      sequence: random.word(),
      identification: random.below(0x10000),
    };
  });
  return Array.from({ length: random.below(40) }, () => {
    const flow = flows[random.below(flows.length)]!;
    const size = random.chance(0.1) ? random.below(flow.size + 2) : flow.size;
    let packet = makePacket({
      ...flow.shape,
      sequence: flow.sequence,
      identification: flow.identification,
      payload: pattern(size, random.below(1000)),
      ...(random.chance(0.1) && { flags: ack | psh }),
      ...(random.chance(0.03) && { flags: random.below(256) }),
      ...(random.chance(0.03) && { hopLimit: random.below(3) }),
      ...(random.chance(0.03) && { window: random.below(3) }),
    });
    flow.sequence = random.chance(0.03) ? random.word() : (flow.sequence + size) >>> 0;
    if (!flow.fixedId || random.chance(0.05)) flow.identification = (flow.identification + 1) & 0xffff;
    if (random.chance(0.05)) {
      const spoilers = Object.values(SPOILING);
      packet = spoilers[random.below(spoilers.length)]!(packet) ?? packet;
    }
    return packet;
  });
}

test('with more flows than the table holds, packets stay in their own flows', () => {
  for (const version of families) {
    for (const protocol of protocols) {
      const sent = Array.from({ length: 1024 }, (_, i) => {
        const shape = { version, protocol, sequence: 1 + 9 * i, identification: 0 };
        // The multiplier is odd, so no port repeats.
        return makePacket({ ...shape, sourcePort: (i * 40_503) & 0xffff, payload: pattern(9, i) });
      });
      const groups = coalesce(sent);
      assert.deepEqual(groups.flatMap(segmentReference), sent, `${protocol}, IPv${version}`);
    }
  }
});

test('control: the mixes of the previous test are merged', () => {
  let packets = 0;
  let groups = 0;
  for (let seed = 0; seed < 50; seed++) {
    const mix = randomMix(new SeededRandom(seed));
    packets += mix.length;
    groups += coalesce(mix).length;
  }
  assert.ok(groups < packets * 0.6, `${packets} packets became ${groups}`);
});

test('random bytes that look like packets pass unchanged', () => {
  const bytes = fc.uint8Array({ maxLength: 90 }).map((garbage) => {
    if (garbage.length > 30) garbage[0] = garbage[0]! & 1 ? 0x45 : 0x60;
    if (garbage.length > 30) garbage[garbage[0] === 0x45 ? 9 : 6] = garbage[1]! & 1 ? 6 : 17;
    if (garbage.length > 40) {
      const view = new DataView(garbage.buffer);
      if (garbage[0] === 0x45) view.setUint16(2, garbage.length);
      else view.setUint16(4, garbage.length - 40);
    }
    return garbage;
  });
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 20 }), (packets) => {
      const all = [...packets, ...packets];
      assert.deepEqual(
        coalesce(all).map((group) => group.slice(VIRTIO.length)),
        all,
      );
    }),
    { numRuns: 1000 },
  );
});

test('a full batch accepts no more packets, and the next batch starts empty', () => {
  const bytes = new Uint8Array(1000);
  const packet = stream(1, 100, { protocol: 'udp' })[0]!;
  bytes.set(packet, 16);
  const arena = { bytes, view: new DataView(bytes.buffer) };
  const coalescer = new Coalescer(arena, wordSum(bytes));
  for (let batch = 0; batch < 3; batch++) {
    coalescer.begin();
    assert.equal(coalescer.groupCount, 0);
    for (let i = 0; i < MAX_PACKETS; i++) assert.ok(coalescer.add(16, packet.length));
    assert.equal(coalescer.add(16, packet.length), false);
  }
  assert.throws(() => coalescer.begin() ?? coalescer.add(9, 30), RangeError);
  assert.throws(() => coalescer.add(980, 30), RangeError);
});

test('with many flows in one batch, packets find their groups or start new ones', () => {
  const flows = Array.from({ length: 300 }, (_, i) => stream(3, 20, { sourcePort: i, protocol: 'udp' }));
  const packets = [0, 1, 2].flatMap((i) => flows.map((flow) => flow[i]!));
  const groups = coalesce(packets);
  assert.ok(groups.length < 320, `${groups.length} groups`);
  assert.equal(groups.flatMap(segmentReference).length, 900);
});
