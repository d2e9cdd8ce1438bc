import { AEAD, Aead } from '../../src/crypto/aead.js';
import { IMPLEMENTATIONS } from '../../src/crypto/chacha20-poly1305.js';
import { createChecksum } from '../../src/ip/checksum-wasm.js';
import { libc } from '../../src/linux/ffi/libc.js';
import { allocate, allocateArena } from '../../src/linux/ffi/memory.js';
import { OUTER } from './hosts.js';
import { tcp } from './iperf.js';
import type { Measurement, Metric, Prepared, Section } from './section.js';

/** A full packet at MTU 1420, and a padded TCP acknowledgment, bytes. */
const FULL = 1420;
const SMALL = 64;

const TIME: Metric = { unit: 'ns', better: 'less' };

/** The least cost of a packet: each part of the work alone, with all data in the cache. */
export const LIMITS: Section = {
  name: 'limits',
  title: 'Each part of the work alone, and the cable without a tunnel',
  async prepare(hosts): Promise<Prepared> {
    const aeads = new Map<string, Aead>();
    for (const make of IMPLEMENTATIONS) {
      try {
        const aead = new Aead(make());
        aeads.set(aead.name, aead);
      } catch {} // not available on this machine
    }
    const [first] = aeads.keys();
    return {
      metrics: {
        'seal 1420 bytes': TIME,
        'open 1420 bytes': TIME,
        'seal 64 bytes': TIME,
        'open 64 bytes': TIME,
        'copy 1420 bytes': TIME,
        'sum 1420 bytes': TIME,
        'call C': TIME,
        'system call': TIME,
        'cable, TCP, 1 stream': { unit: 'Mbit/s', better: 'more' },
      },
      subjects: [...aeads.keys()],
      async measure(subject) {
        const aead = sealing(aeads.get(subject)!);
        if (subject !== first) return aead;
        const { rate } = await tcp(hosts, OUTER.server, 1, 'up');
        return { ...aead, ...others(), 'cable, TCP, 1 stream': rate };
      },
    };
  },
};

/** Messages in memory, one after the other as in the tunnel. */
const MESSAGES = 256;

function sealing(aead: Aead): Measurement {
  const plain = allocate(AEAD.before + (MESSAGES + 1) * (FULL + AEAD.before));
  const sealed = allocate(AEAD.before + (MESSAGES + 1) * (FULL + AEAD.before));
  const key = allocate(AEAD.key);
  const measured: Record<string, number> = {};
  for (const length of [FULL, SMALL]) {
    const at = (i: number): number => AEAD.before + (i % MESSAGES) * (length + 32);
    measured[`seal ${length} bytes`] = nanoseconds((i) =>
      aead.seal(key.address, i % MESSAGES, plain, AEAD.before, sealed, at(i), length),
    );
    // Opening in place may overwrite the message, so this opens garbage. The work is the same, except with
    // node:crypto, which throws at a wrong tag.
    if (aead.name === 'node:crypto') continue;
    measured[`open ${length} bytes`] = nanoseconds((i) =>
      aead.open(key.address, i % MESSAGES, sealed, at(i), plain, AEAD.before, length),
    );
  }
  return measured;
}

function others(): Measurement {
  const arena = allocateArena(4 * 65_536);
  const { sum } = createChecksum(arena.bytes, arena.memory);
  const { address } = arena;
  return {
    'copy 1420 bytes': nanoseconds((i) => libc.memcpy(address + 65_536, address + (i % 32) * FULL, FULL)),
    'sum 1420 bytes': nanoseconds((i) => sum((i % 32) * FULL, FULL)),
    'call C': nanoseconds(() => libc.memcpy(address, address, 0)),
    'system call': nanoseconds(() => libc.read(-1, address, 1)),
  };
}

const RUNS = 60;
const CALLS = 1000;

/** The shortest of many runs, since other work can only make a run longer. */
function nanoseconds(work: (i: number) => unknown): number {
  for (let i = 0; i < 20 * CALLS; i++) work(i); // until it is compiled
  let least = Infinity;
  for (let run = 0; run < RUNS; run++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < CALLS; i++) work(i);
    least = Math.min(least, Number(process.hrtime.bigint() - start) / CALLS);
  }
  return least;
}
