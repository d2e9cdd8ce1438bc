import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { wordSum } from '../../src/ip/checksum.js';
import { Coalescer } from '../../src/ip/coalesce.js';
import { IPV4, IPV6, PROTOCOL, TCP_FLAG } from '../../src/ip/packet.js';
import { Segmenter } from '../../src/ip/segment.js';
import { VIRTIO } from '../../src/ip/virtio.js';
import { errno, libc } from '../../src/linux/ffi/libc.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { Namespace } from '../../src/linux/process/namespace.js';
import { Poller } from '../../src/linux/threads/poll.js';
import { setOffloads, Tun } from '../../src/linux/tun/tun.js';
import { fixIpv4Checksum, makePacket, type PacketShape } from '../kit/packets.js';
import { needs } from '../kit/requirements.js';

/** A host that forwards from one TUN device, which accepts merged packets, to another. */
function gateway(t: TestContext, offloadsBehind: boolean): { namespace: Namespace; front: Tun; back: Tun } {
  const namespace = Namespace.create(`lt-off-${process.pid}-${count++}`);
  t.after(() => namespace.remove());
  const open = (name: string, virtioHeader: boolean): Tun =>
    namespace.inside(() => {
      const tun = Tun.open({ name, packetInformation: false, virtioHeader });
      t.after(() => tun.close());
      if (virtioHeader) setOffloads(tun.fd);
      return tun;
    });
  const front = open('front', true);
  const back = open('back', offloadsBehind);
  namespace.sysctl({
    'net.ipv4.ip_forward': 1,
    'net.ipv6.conf.all.forwarding': 1,
    'net.ipv4.conf.all.rp_filter': 0,
    'net.ipv4.conf.front.rp_filter': 0,
    'net.ipv6.conf.front.addr_gen_mode': 1,
    'net.ipv6.conf.back.addr_gen_mode': 1,
  });
  namespace.ip([
    'link set front mtu 65535 up',
    'link set back mtu 65535 up',
    'addr add 10.0.0.254/24 dev front',
    'addr add fd00::fe/64 dev front',
    'route add 10.0.1.0/24 dev back',
    'route add fd00:100::/32 dev back',
  ]);
  return { namespace, front, back };
}
let count = 0;

/** Merges packets and writes each group to a device. @returns the number of groups */
function writeMerged(tun: Tun, packets: readonly Uint8Array[]): number {
  const arena = allocate(packets.reduce((sum, packet) => sum + packet.length + 16, 0));
  const group = allocate(VIRTIO.length + 65_536);
  const coalescer = new Coalescer(arena, wordSum(arena.bytes));
  coalescer.begin();
  let at = 16;
  for (const packet of packets) {
    arena.bytes.set(packet, at);
    assert.ok(coalescer.add(at, packet.length));
    at += packet.length + 16;
  }
  coalescer.finish();
  for (let g = 0; g < coalescer.groupCount; g++) {
    let length = 0;
    for (let i = 0; i < coalescer.pieceCount(g); i++) {
      const offset = coalescer.pieceOffset(g, i);
      group.bytes.set(arena.bytes.subarray(offset, offset + coalescer.pieceLength(g, i)), length);
      length += coalescer.pieceLength(g, i);
    }
    assert.equal(libc.write(tun.fd, group.address, length), length, `errno ${errno()}`);
  }
  return coalescer.groupCount;
}

/**
 * Reads the packets at a device, segments them where needed, and counts the reads. A busy kernel has ten seconds to
 * forward the `expected` packets.
 */
function readAll(
  tun: Tun,
  virtioHeader: boolean,
  expected: number,
): { packets: Uint8Array[]; reads: number } {
  const room = allocate(VIRTIO.length + 65_536);
  const segmenter = new Segmenter(room, wordSum(room.bytes));
  const packets: Uint8Array[] = [];
  const poller = new Poller([tun.fd]);
  let reads = 0;
  for (;;) {
    const length = libc.read(tun.fd, room.address, room.bytes.length);
    if (length < 0 && packets.length < expected && poller.wait(10_000)) continue;
    if (length < 0) return { packets, reads };
    const nextHeader = room.bytes[(virtioHeader ? VIRTIO.length : 0) + IPV6.nextHeader];
    const first = room.bytes[virtioHeader ? VIRTIO.length : 0]!;
    if (first >> 4 === 6 && nextHeader !== PROTOCOL.tcp && nextHeader !== PROTOCOL.udp) continue; // the kernel's own
    reads++;
    if (!virtioHeader) packets.push(Uint8Array.from(room.bytes.subarray(0, length)));
    else {
      assert.notEqual(segmenter.start(0, length), 0, Buffer.from(room.bytes.subarray(0, 60)).toString('hex'));
      while (segmenter.next()) {
        packets.push(
          Uint8Array.from(room.bytes.subarray(segmenter.packet, segmenter.packet + segmenter.length)),
        );
      }
    }
  }
}

/** A packet as it leaves a router. */
function forwarded(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  if (copy[0] === 0x45) {
    copy[IPV4.timeToLive]!--;
    return fixIpv4Checksum(copy);
  }
  copy[IPV6.hopLimit]!--;
  return copy;
}

const pattern = (length: number, from: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i + from) * 31 + (i >> 8));

function stream(sizes: readonly number[], shape: Partial<PacketShape>): Uint8Array[] {
  let sequence = 0xfffff000;
  return sizes.map((size, i) => {
    const flags = TCP_FLAG.ack | (i === sizes.length - 1 ? TCP_FLAG.psh : 0);
    const payload = pattern(size, i);
    const packet = makePacket({ identification: 0xfff0 + i, ...shape, sequence, flags, payload });
    sequence = (sequence + size) >>> 0;
    return packet;
  });
}

/** Payload sizes: full packets at various MTUs, and a smaller last one. */
const run = (count: number, size: number): number[] => [
  ...Array<number>(count).fill(size),
  Math.ceil(size / 3),
];

for (const behind of [false, true]) {
  const how = behind ? 'as one large packet' : 'segmented by the kernel';
  test(`merged packets leave a forwarding host ${how}, equal to the originals`, (t) => {
    if (!needs(t, 'root', 'netns', 'tun')) return;
    const { namespace, front, back } = gateway(t, behind);
    for (const version of [4, 6] as const) {
      for (const protocol of ['tcp', 'udp'] as const) {
        for (const [packets, size] of [
          [40, 1200],
          [20, 1367],
          [5, 8941],
          [1, 30_001],
          [60, 33],
        ] as const) {
          const options = pattern(12, 5).fill(1, 0, 12);
          const input = stream(run(packets, size), {
            version,
            protocol,
            options,
            dontFragment: packets !== 20,
          });
          const { reads, output } = namespace.inside(() => {
            readAll(back, behind, 0);
            assert.equal(writeMerged(front, input), 1, `${protocol}${version} ${packets}x${size}`);
            const { packets: output, reads } = readAll(back, behind, input.length);
            return { output, reads };
          });
          assert.deepEqual(output, input.map(forwarded), `${protocol}${version} ${packets}x${size}`);
          assert.equal(reads, behind ? 1 : input.length);
        }
      }
    }
  });

  test(`a corrupted packet leaves a forwarding host ${how}, still corrupted`, (t) => {
    if (!needs(t, 'root', 'netns', 'tun')) return;
    const { namespace, front, back } = gateway(t, behind);
    for (const version of [4, 6] as const) {
      for (const protocol of ['tcp', 'udp'] as const) {
        const input = stream(run(9, 1000), { version, protocol });
        input[4]![500]! ^= 1;
        namespace.inside(() => {
          readAll(back, behind, 0);
          assert.equal(writeMerged(front, input), 3);
          assert.deepEqual(readAll(back, behind, input.length).packets, input.map(forwarded));
        });
      }
    }
  });
}
