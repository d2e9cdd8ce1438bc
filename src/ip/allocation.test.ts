import assert from 'node:assert/strict';
import { PerformanceObserver } from 'node:perf_hooks';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makePacket, makeSuperPacket } from '../../tests/kit/packets.js';
import { createChecksum } from './checksum-wasm.js';
import { Coalescer } from './coalesce.js';
import { Segmenter } from './segment.js';
import { wasmMemory } from './wasm.js';

/** One minimal object per packet would be 10 MB: at least five collections of 2 MB. */
const PACKETS = 800_000;

test('segmenting and merging leave no garbage', async () => {
  const memory = wasmMemory(4);
  const bytes = new Uint8Array(memory.buffer);
  for (const kernel of [createChecksum(bytes, memory), createChecksum(bytes)]) {
    const work = prepare(bytes, kernel.sum);
    work(PACKETS / 10); // until it is optimized
    await sleep(20);
    let collections = 0;
    const observer = new PerformanceObserver((list) => {
      collections += list.getEntries().length;
    });
    observer.observe({ entryTypes: ['gc'] });
    work(PACKETS);
    await sleep(20);
    observer.disconnect();
    assert.ok(collections <= 2, `${collections} collections, ${kernel.kernel}`);
  }
});

/** A mix of all kinds of flows, and large packets to segment. Headers that merging changes are restored each time. */
function prepare(bytes: Uint8Array, sum: (offset: number, length: number) => number) {
  const arena = { bytes, view: new DataView(bytes.buffer) };
  const segmenter = new Segmenter(arena, sum);
  const coalescer = new Coalescer(arena, sum);
  const superPacket = makeSuperPacket({ payload: new Uint8Array(60_000) }, 1000);
  const superHeader = superPacket.slice(0, 64);
  const superAt = 128 * 1024;
  bytes.set(superPacket, superAt);
  const packets = Array.from({ length: 128 }, (_, i) => {
    const run = i >> 3;
    const packet = makePacket({
      version: run & 1 ? 4 : 6,
      protocol: run & 2 ? 'udp' : 'tcp',
      sourcePort: run,
      identification: i,
      sequence: 3e9 + i * 100,
      payload: new Uint8Array(run === 8 ? 0 : 100),
    });
    return { packet, header: packet.slice(0, 60), at: 16 + i * 256 };
  });
  for (const { packet, at } of packets) bytes.set(packet, at);
  return (count: number): void => {
    for (let done = 0; done < count; ) {
      for (let i = 0; i < packets.length; i++) bytes.set(packets[i]!.header, packets[i]!.at);
      coalescer.begin();
      for (let i = 0; i < packets.length; i++) coalescer.add(packets[i]!.at, packets[i]!.packet.length);
      coalescer.finish();
      done += packets.length;
      assert.ok(coalescer.groupCount < packets.length);
      bytes.set(superHeader, superAt);
      segmenter.start(superAt, superPacket.length);
      while (segmenter.next()) done++;
    }
  };
}
