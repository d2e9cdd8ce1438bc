import { once } from 'node:events';
import { runOn } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import type { Hosts } from './hosts.js';

/** TCP payload of a full packet at MTU 1420, with timestamps. */
const SEGMENT = 1368;

export interface Received {
  /** Mbit/s. */
  readonly rate: number;
  /** Packets in all: received datagrams, or the bytes of a stream in full segments. */
  readonly packets: number;
  readonly packetsPerSecond: number;
}

/** Sends TCP streams at full speed. `down` is from the server to the client. */
export async function tcp(
  hosts: Hosts,
  address: string,
  streams: number,
  direction: 'up' | 'down',
  seconds = hosts.seconds,
): Promise<Received> {
  const args = ['-t', `${seconds}`, '-P', `${streams}`, ...(direction === 'down' ? ['-R'] : [])];
  const { sum_received: sum } = (await iperf(hosts, address, args)).end;
  const packets = sum.bytes / SEGMENT;
  return { rate: sum.bits_per_second / 1e6, packets, packetsPerSecond: packets / sum.seconds };
}

/** Sends datagrams at full speed. @param length payload, bytes @returns what arrived */
export async function udp(hosts: Hosts, address: string, length: number): Promise<Received> {
  const { sum } = (
    await iperf(hosts, address, ['-t', `${hosts.seconds}`, '-u', '-b', '0', '-l', `${length}`])
  ).end;
  const packets = sum.packets - sum.lost_packets;
  const packetsPerSecond = packets / sum.seconds;
  return { rate: (packetsPerSecond * length * 8) / 1e6, packets, packetsPerSecond };
}

interface IperfResult {
  readonly error?: string;
  readonly end: {
    readonly sum_received: {
      readonly bits_per_second: number;
      readonly bytes: number;
      readonly seconds: number;
    };
    readonly sum: { readonly packets: number; readonly lost_packets: number; readonly seconds: number };
  };
}

async function iperf(hosts: Hosts, address: string, more: readonly string[]): Promise<IperfResult> {
  // Each run has its own server: after an interrupted run, the old one may still be busy.
  const server = hosts.server.spawn('iperf3', ['-s', '-1'], { stdio: 'ignore' });
  const ended = once(server, 'exit');
  try {
    return await until('iperf3 to connect', async () => {
      const args = ['-c', address, '-J', '--connect-timeout', '2000', ...more];
      const { stdout } = await runOn(hosts.client, 'iperf3', args);
      const result = JSON.parse(stdout) as IperfResult;
      if (result.error === undefined) return result;
      if (/refused/.test(result.error)) return undefined; // the server does not listen yet
      throw new Error(`iperf3 to ${address}: ${result.error}`);
    });
  } finally {
    server.kill('SIGKILL');
    await ended; // frees the port for the next one
  }
}
