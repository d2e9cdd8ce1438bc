import { readdirSync, readFileSync } from 'node:fs';
import type { Namespace } from '../../src/linux/namespace.js';
import { ping, runOn } from '../../src/testkit/traffic.js';
import { until } from '../../src/testkit/wait.js';

/** Something that carries packets between two hosts, and is measured. */
export interface Subject {
  readonly name: string;
  /** Who sends (or fetches), and the address of the other one in here. */
  readonly client: Namespace;
  readonly server: Namespace;
  readonly address: string;
  /** The device of the server that packets come and go by, and the processes that carry them. */
  readonly device: string;
  readonly pids: readonly number[];
}

/** What is measured: how it is called, in what, and whether more is better. */
export const METRICS = {
  'TCP, 1 stream, up': { unit: 'Mbit/s', better: 'more' },
  'TCP, 1 stream, down': { unit: 'Mbit/s', better: 'more' },
  'TCP, 4 streams, up': { unit: 'Mbit/s', better: 'more' },
  'TCP, 4 streams, down': { unit: 'Mbit/s', better: 'more' },
  'CPU, TCP 1 stream': { unit: 'µs/packet', better: 'less' },
  'UDP of 64 bytes, received': { unit: 'k/s', better: 'more' },
  'CPU, UDP of 64 bytes': { unit: 'µs/packet', better: 'less' },
  'ping, round trip': { unit: 'ms', better: 'less' },
} as const;
export type Metric = keyof typeof METRICS;
export type Measurement = Partial<Record<Metric, number>>;

/** Measures everything once. @param seconds how long each run of iperf3 lasts */
export async function measure(subject: Subject, seconds: number): Promise<Measurement> {
  const up = await cpuPerPacket(subject, () => tcp(subject, seconds, 1, false));
  const down = await tcp(subject, seconds, 1, true);
  const up4 = await tcp(subject, seconds, 4, false);
  const down4 = await tcp(subject, seconds, 4, true);
  const udp = await cpuPerPacket(subject, () => udp64(subject, seconds));
  const { average } = await ping(subject.client, subject.address, { count: 50, interval: 0.01 });
  return {
    'TCP, 1 stream, up': up.result,
    'TCP, 1 stream, down': down,
    'TCP, 4 streams, up': up4,
    'TCP, 4 streams, down': down4,
    'UDP of 64 bytes, received': udp.result,
    ...(up.cpu !== undefined && { 'CPU, TCP 1 stream': up.cpu }),
    ...(udp.cpu !== undefined && { 'CPU, UDP of 64 bytes': udp.cpu }),
    ...(average !== undefined && { 'ping, round trip': average }),
  };
}

/** Mbit/s that arrived. */
async function tcp(subject: Subject, seconds: number, streams: number, down: boolean): Promise<number> {
  const { end } = await iperf(subject, seconds, ['-P', `${streams}`, ...(down ? ['-R'] : [])]);
  return end.sum_received.bits_per_second / 1e6;
}

/** Thousands of datagrams a second that arrived, of those that were sent as fast as they go. */
async function udp64(subject: Subject, seconds: number): Promise<number> {
  const { end } = await iperf(subject, seconds, ['-u', '-b', '0', '-l', '64']);
  return (end.sum.packets - end.sum.lost_packets) / end.sum.seconds / 1000;
}

interface IperfResult {
  readonly error?: string;
  readonly end: {
    readonly sum_received: { readonly bits_per_second: number };
    readonly sum: { readonly packets: number; readonly lost_packets: number; readonly seconds: number };
  };
}

async function iperf(subject: Subject, seconds: number, more: readonly string[]): Promise<IperfResult> {
  // One server for each run: after a run that was cut off, an old one may still be busy with it.
  const server = subject.server.spawn('iperf3', ['-s', '-1'], { stdio: 'ignore' });
  try {
    return await until('iperf3 to connect', async () => {
      const args = ['-c', subject.address, '-J', '-t', `${seconds}`, '--connect-timeout', '2000', ...more];
      const { stdout } = await runOn(subject.client, 'iperf3', args);
      const result = JSON.parse(stdout) as IperfResult;
      if (result.error === undefined) return result;
      if (/refused/.test(result.error)) return undefined; // the server has not begun to listen
      throw new Error(`iperf3 through ${subject.name}: ${result.error}`);
    });
  } finally {
    server.kill('SIGKILL');
  }
}

/** What the processes of a subject, both ends together, spend on one packet of a run. */
async function cpuPerPacket(
  subject: Subject,
  run: () => Promise<number>,
): Promise<{ readonly result: number; readonly cpu: number | undefined }> {
  const before = { cpu: cpuOf(subject.pids), packets: packetsOf(subject) };
  const result = await run();
  if (subject.pids.length === 0) return { result, cpu: undefined };
  return {
    result,
    cpu: (cpuOf(subject.pids) - before.cpu) / 1000 / (packetsOf(subject) - before.packets),
  };
}

/** Nanoseconds that all threads of some processes have run, Documentation/scheduler/sched-stats.rst. */
function cpuOf(pids: readonly number[]): number {
  let sum = 0;
  for (const pid of pids) {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    }
  }
  return sum;
}

/** How many packets have passed a device, either way, as the kernel counts them. */
function packetsOf({ server, device }: Subject): number {
  const [stats] = JSON.parse(server.run('ip', ['-j', '-s', 'link', 'show', 'dev', device]));
  return stats.stats64.rx.packets + stats.stats64.tx.packets;
}
