import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon } from './daemon.js';
import type { HandshakeLoad } from './handshake-load.js';
import { Helper } from './helper.js';
import { type Hosts, OUTER } from './hosts.js';
import { networksText, peersText, publicKeys, responderText } from './many-peers.js';
import type { Measurement, Prepared, Section } from './section.js';

const PEERS = 10_000;
const PORT = 51_820;
/** A pause in which memory used only for loading is collected, milliseconds. */
const REST = 2000;

const SECONDS = { unit: 's', better: 'less' } as const;
const MEMORY = { unit: 'MB', better: 'less' } as const;

/** The cost of many peers. */
export const PEER_SCALE: Section = {
  name: 'peers',
  title: `A device with ${PEERS} peers that all do a handshake, and a device with one peer with 65025 allowed IPs`,
  async prepare(hosts): Promise<Prepared> {
    const load = await Helper.start(hosts.client, './handshake-load.js', [`${PEERS}`]);
    publicKeys(PEERS);
    return {
      metrics: {
        '`wg setconf`': SECONDS,
        'memory, idle': MEMORY,
        'above idle, loaded': MEMORY,
        'above idle, after all handshakes': MEMORY,
        'memory, after all handshakes': MEMORY,
        'handshakes answered': { unit: '/s', better: 'more' },
        'CPU per handshake': { unit: 'µs', better: 'less' },
        '65025 allowed IPs': SECONDS,
      },
      subjects: hosts.implementations.map(({ name }) => name),
      measure: async (subject) => ({
        ...(await measurePeers(hosts, subject, load)),
        '65025 allowed IPs': await measureNetworks(hosts, subject),
      }),
      close: () => load.close(),
    };
  },
};

async function measurePeers(hosts: Hosts, subject: string, load: Helper): Promise<Measurement> {
  const daemon = await Daemon.start(hosts.implementation(subject), hosts.server, hosts.newDevice());
  try {
    daemon.up('10.7.0.1/24');
    await sleep(REST / 2);
    const idle = daemon.memory;
    const seconds = daemon.configure('setconf', responderText(PORT) + peersText(0, PEERS));
    await sleep(REST);
    const loaded = daemon.memory;
    const before = daemon.cpu;
    const result = JSON.parse(await load.ask(`${OUTER.server} ${PORT}`)) as HandshakeLoad;
    const cpu = daemon.cpu - before;
    await sleep(REST);
    const shaken = daemon.memory;
    const known = daemon.show('latest-handshakes').match(/\t[1-9]\d*$/gm)?.length ?? 0;
    if (known < PEERS * 0.99) {
      throw new Error(`${subject} completed ${known} of ${PEERS} handshakes: ${JSON.stringify(result)}`);
    }
    return {
      '`wg setconf`': seconds,
      'memory, idle': idle,
      'above idle, loaded': loaded - idle,
      'above idle, after all handshakes': shaken - idle,
      'memory, after all handshakes': shaken,
      'handshakes answered': result.answered / result.seconds,
      'CPU per handshake': cpu / result.answered,
    };
  } finally {
    await daemon.stop();
  }
}

async function measureNetworks(hosts: Hosts, subject: string): Promise<number> {
  const daemon = await Daemon.start(hosts.implementation(subject), hosts.server, hosts.newDevice());
  const seconds = daemon.configure('setconf', responderText(PORT) + networksText());
  await daemon.stop();
  return seconds;
}
