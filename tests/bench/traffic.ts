import { setTimeout as sleep } from 'node:timers/promises';
import { ping } from '../kit/traffic.js';
import type { Hosts, Tunnel } from './hosts.js';
import { type Received, tcp, udp } from './iperf.js';
import { cpuOf, memoryOf } from './process.js';
import type { Measurement, Metrics, Prepared, Section } from './section.js';

const RATE = { unit: 'Mbit/s', better: 'more' } as const;
const PACKETS = { unit: 'k/s', better: 'more' } as const;
const CPU = { unit: 'µs/packet', better: 'less' } as const;
const TIME = { unit: 'ms', better: 'less' } as const;

/** A section that measures tunnels that are already up. */
const section = (
  name: string,
  title: string,
  metrics: Metrics,
  measure: (hosts: Hosts, tunnel: Tunnel) => Promise<Measurement>,
  ready: (hosts: Hosts) => Promise<readonly Tunnel[]> = (hosts) => hosts.tunnels(),
): Section => ({
  name,
  title,
  async prepare(hosts): Promise<Prepared> {
    const tunnels = await ready(hosts);
    return {
      metrics,
      subjects: tunnels.map((tunnel) => tunnel.name),
      measure: (subject) => measure(hosts, tunnels.find((tunnel) => tunnel.name === subject)!),
    };
  },
});

export const TCP: Section = section(
  'tcp',
  'TCP through the tunnel, with the CPU time for 1368 bytes and the memory of both ends together',
  {
    'TCP, 1 stream, up': RATE,
    'TCP, 1 stream, down': RATE,
    'TCP, 4 streams, up': RATE,
    'TCP, 4 streams, down': RATE,
    'CPU, 1 stream': CPU,
    'CPU, 4 streams': CPU,
    'memory afterwards': { unit: 'MB', better: 'less' },
  },
  async (hosts, { address, pids }) => {
    const up = await withCpu(pids, () => tcp(hosts, address, 1, 'up'));
    const down = hosts.quick ? undefined : await tcp(hosts, address, 1, 'down');
    const up4 = hosts.quick ? undefined : await withCpu(pids, () => tcp(hosts, address, 4, 'up'));
    const down4 = await withCpu(pids, () => tcp(hosts, address, 4, 'down'));
    return {
      'TCP, 1 stream, up': up.rate,
      ...(down && { 'TCP, 1 stream, down': down.rate }),
      ...(up4 && { 'TCP, 4 streams, up': up4.rate }),
      'TCP, 4 streams, down': down4.rate,
      ...(pids.length > 0 && {
        'CPU, 1 stream': up.cpu,
        'CPU, 4 streams': down4.cpu,
        'memory afterwards': memoryOf(pids),
      }),
    };
  },
);

export const UDP: Section = section(
  'udp',
  'UDP sent at full speed: datagrams received',
  {
    'UDP of 64 bytes': PACKETS,
    'CPU, 64 bytes': CPU,
    'UDP of 1372 bytes': PACKETS,
    'CPU, 1372 bytes': CPU,
  },
  async (hosts, { address, pids }) => {
    const small = await withCpu(pids, () => udp(hosts, address, 64));
    const large = await withCpu(pids, () => udp(hosts, address, 1372));
    return {
      'UDP of 64 bytes': small.packetsPerSecond / 1000,
      'UDP of 1372 bytes': large.packetsPerSecond / 1000,
      ...(pids.length > 0 && { 'CPU, 64 bytes': small.cpu, 'CPU, 1372 bytes': large.cpu }),
    };
  },
);

export const PING: Section = section(
  'ping',
  'Round trips, alone and beside one TCP stream at full speed',
  { 'idle, p50': TIME, 'idle, p99': TIME, 'beside TCP, p50': TIME, 'beside TCP, p99': TIME },
  async (hosts, { address }) => {
    const idle = await roundTrips(hosts, address, hosts.seconds);
    const traffic = tcp(hosts, address, 1, 'up', hosts.seconds + 1);
    await sleep(500); // until it is at full speed
    const loaded = await roundTrips(hosts, address, hosts.seconds);
    await traffic;
    return {
      ...percentiles('idle', idle),
      ...percentiles('beside TCP', loaded),
    };
  },
);

export const PLAIN: Section = section(
  'plain',
  'The plain tunnel, and programs with the same wire format that handle packets one by one',
  {
    'TCP, 1 stream, up': RATE,
    'TCP, 4 streams, down': RATE,
    'CPU, 1 stream': CPU,
    'UDP of 64 bytes': PACKETS,
    'UDP of 1372 bytes': PACKETS,
    'idle, p50': TIME,
  },
  async (hosts, { address, pids }) => {
    const up = await withCpu(pids, () => tcp(hosts, address, 1, 'up'));
    const large = await udp(hosts, address, 1372);
    const essential = {
      'TCP, 1 stream, up': up.rate,
      'CPU, 1 stream': up.cpu,
      'UDP of 1372 bytes': large.packetsPerSecond / 1000,
    };
    if (hosts.quick) return essential;
    const down = await tcp(hosts, address, 4, 'down');
    const small = await udp(hosts, address, 64);
    const { 'idle, p50': idle } = percentiles('idle', await roundTrips(hosts, address, hosts.seconds));
    return {
      ...essential,
      'TCP, 4 streams, down': down.rate,
      'UDP of 64 bytes': small.packetsPerSecond / 1000,
      ...(idle !== undefined && { 'idle, p50': idle }),
    };
  },
  (hosts) => hosts.plainTunnels(),
);

async function withCpu(
  pids: readonly number[],
  run: () => Promise<Received>,
): Promise<Received & { readonly cpu: number }> {
  const before = cpuOf(pids);
  const received = await run();
  return { ...received, cpu: (cpuOf(pids) - before) / received.packets };
}

const PING_INTERVAL = 0.005;

async function roundTrips(hosts: Hosts, address: string, seconds: number): Promise<number[]> {
  const count = Math.round(seconds / PING_INTERVAL);
  const { output } = await ping(hosts.client, address, { count, interval: PING_INTERVAL });
  return [...output.matchAll(/ time=([\d.]+) ms$/gm)].map(([, time]) => Number(time));
}

function percentiles(name: string, times: readonly number[]): Measurement {
  const sorted = times.toSorted((a, b) => a - b);
  if (sorted.length === 0) return {};
  const at = (fraction: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))]!;
  return { [`${name}, p50`]: at(0.5), [`${name}, p99`]: at(0.99) };
}
