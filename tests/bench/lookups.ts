import { setTimeout as sleep } from 'node:timers/promises';
import type { Daemon } from './daemon.js';
import type { Hosts } from './hosts.js';
import { tcp } from './iperf.js';
import { peersText, publicKeys } from './many-peers.js';
import type { Measurement, Metric, Prepared, Section } from './section.js';

const COUNTS = [1, 100, 1000, 10_000];
const RATE: Metric = { unit: 'Mbit/s', better: 'more' };
const CPU: Metric = { unit: 'µs/packet', better: 'less' };
/** A pause in which a daemon finishes its idle-time work for new peers, milliseconds. */
const REST = 2000;
const GROWTH = `CPU, ${COUNTS.at(-1)} peers over 1`;

/** How the number of configured peers affects packets. */
export const LOOKUPS: Section = {
  name: 'lookups',
  title: 'One TCP stream between two devices with a growing number of configured peers',
  async prepare(hosts): Promise<Prepared> {
    publicKeys(COUNTS.at(-1)!);
    return {
      metrics: {
        ...Object.fromEntries(COUNTS.map((count) => [`${count} peers`, RATE])),
        ...Object.fromEntries(COUNTS.map((count) => [`CPU, ${count} peers`, CPU])),
        [GROWTH]: { unit: 'x', better: 'less' },
      },
      subjects: hosts.implementations.map(({ name }) => name),
      measure: (subject) => measure(hosts, subject),
    };
  },
};

async function measure(hosts: Hosts, subject: string): Promise<Measurement> {
  const { client, server, address, stop } = await hosts.pair(hosts.implementation(subject));
  const measured: Record<string, number> = {};
  try {
    await tcp(hosts, address, 1, 'up', 1); // compiles code and grows buffers
    let peers = 1;
    for (const count of COUNTS) {
      if (count > peers) {
        for (const end of [client, server]) end.configure('addconf', peersText(peers, count));
        await sleep(REST);
      }
      peers = count;
      const before = cpuOf([client, server]);
      const { rate, packets } = await tcp(hosts, address, 1, 'up');
      measured[`${count} peers`] = rate;
      measured[`CPU, ${count} peers`] = (cpuOf([client, server]) - before) / packets;
    }
    measured[GROWTH] = measured[`CPU, ${COUNTS.at(-1)} peers`]! / measured['CPU, 1 peers']!;
    return measured;
  } finally {
    await stop();
  }
}

const cpuOf = (ends: readonly Daemon[]): number => ends.reduce((sum, { cpu }) => sum + cpu, 0);
