import { setTimeout as sleep } from 'node:timers/promises';
import { PacketSocket } from '../../src/linux/net/packet-socket.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { MESSAGE_TYPE, TRANSPORT } from '../../src/wireguard/messages.js';
import { ping } from '../kit/traffic.js';
import type { Daemon } from './daemon.js';
import { FLOOD_KINDS, type FloodKind, type FloodOrder } from './flood-order.js';
import { Helper } from './helper.js';
import type { Hosts } from './hosts.js';
import type { Measurement, Prepared, Section } from './section.js';

/** Datagrams per second. */
const RATE = 50_000;
const SECONDS = 4;
const PING_INTERVAL = 0.01;
/** The server's address on the stranger's cable. */
const VICTIM = '198.51.100.1';

/** How a stranger's flood affects other packets. */
export const FLOOD: Section = {
  name: 'flood',
  title: `A ping of ${1 / PING_INTERVAL}/s through the tunnel, while a stranger sends the server ${RATE} datagrams/s`,
  async prepare(hosts): Promise<Prepared> {
    const stranger = Namespace.create('bench-stranger');
    connect(
      { namespace: stranger, device: 'eth0', addresses: ['198.51.100.2/24'] },
      { namespace: hosts.server, device: 'eth1', addresses: [`${VICTIM}/24`] },
    );
    const flooder = await Helper.start(stranger, './flooder.js', []);
    return {
      metrics: Object.fromEntries([
        ...FLOOD_KINDS.map((kind) => [`${kind}: lost`, { unit: '%', better: 'less', compare: 'difference' }]),
        ...FLOOD_KINDS.map((kind) => [`${kind}: round trip, p50`, { unit: 'ms', better: 'less' }]),
        ...FLOOD_KINDS.map((kind) => [`${kind}: sent`, { unit: 'k/s', better: 'more' }]),
      ]),
      subjects: hosts.implementations.map(({ name }) => name),
      measure: (subject) => measure(hosts, subject, flooder),
      close: () => flooder.close(),
    };
  },
};

async function measure(hosts: Hosts, subject: string, flooder: Helper): Promise<Measurement> {
  const { server, address, stop } = await hosts.pair(hosts.implementation(subject));
  const measured: Record<string, number> = {};
  try {
    await ping(hosts.client, address, { count: 200, interval: 0.005 });
    for (const kind of FLOOD_KINDS)
      Object.assign(measured, await measureKind(hosts, server, address, kind, flooder));
    return measured;
  } finally {
    await stop();
  }
}

async function measureKind(
  hosts: Hosts,
  server: Daemon,
  address: string,
  kind: FloodKind,
  flooder: Helper,
): Promise<Measurement> {
  const port = Number(server.show('listen-port'));
  const order: FloodOrder = {
    kind,
    address: VICTIM,
    port,
    rate: RATE,
    seconds: SECONDS + 1,
    publicKey: server.show('public-key').trim(),
    index: await receiverIndex(hosts, address, port),
  };
  const flooding = flooder.ask(JSON.stringify(order));
  await sleep(kind === 'initiations' ? 1500 : 500); // until the flooder has made its datagrams
  const { sent, received, output } = await ping(hosts.client, address, {
    count: Math.round(SECONDS / PING_INTERVAL) - 100,
    interval: PING_INTERVAL,
  });
  const rate = Number(await flooding);
  await sleep(1500); // until the server is no longer under load
  const times = [...output.matchAll(/ time=([\d.]+) ms$/gm)]
    .map(([, time]) => Number(time))
    .sort((a, b) => a - b);
  return {
    [`${kind}: lost`]: (1 - received / sent) * 100,
    ...(times.length > 0 && { [`${kind}: round trip, p50`]: times[times.length >> 1]! }),
    [`${kind}: sent`]: rate / 1000,
  };
}

/** Finds a receiver index of the server. It is not encrypted, so an observer of the traffic knows it. */
async function receiverIndex(hosts: Hosts, address: string, port: number): Promise<number> {
  const capture = hosts.server.inside(() => PacketSocket.open('eth0'));
  try {
    await ping(hosts.client, address, { count: 2 });
    for (const { bytes, outgoing } of capture.drain()) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      // Ethernet 14 bytes, IPv4 20, UDP 8: nothing else goes over this cable with this port.
      if (outgoing || bytes.length < PAYLOAD + TRANSPORT.minLength || view.getUint16(36) !== port) continue;
      if (view.getUint32(PAYLOAD, true) !== MESSAGE_TYPE.transport) continue;
      return view.getUint32(PAYLOAD + TRANSPORT.receiver, true);
    }
    throw new Error('captured no packet of the tunnel');
  } finally {
    capture.close();
  }
}
const PAYLOAD = 14 + 20 + 8;
