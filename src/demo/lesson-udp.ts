import type { ChildProcess } from 'node:child_process';
import { LametunError } from '../errors.js';
import type { Namespace } from '../linux/process/namespace.js';
import { INNER, nextLine, type Stage } from './stage.js';
import { ADDRESS } from './topology.js';

/** The internet of this comparison: its delay each way in milliseconds, and its share of lost packets. */
const DELAY = 10;
const LOSS = 0.02;
/** How long each stream is measured, in seconds. */
const SECONDS = 2;
/** The addresses in the tunnel over TCP. */
const OVER_TCP = { gateway: '10.0.1.1', laptop: '10.0.1.2' } as const;

/** Compares the tunnel with one over TCP: the same stream in each, on the same bad internet. */
export async function compareTransports(stage: Stage): Promise<void> {
  const { laptop, gateway, internet } = stage.topology;
  await stage.scene('udp', 'Why UDP');
  await stage.text(
    `Could the tunnel use TCP? The internet now takes ${DELAY} ms each way and loses ${LOSS * 100} % of all packets. ` +
      'Each tunnel carries a TCP stream and a ping:',
  );
  makeDevices(stage);
  // Some congestion control ignores losses. Reno does not, and every kernel has it.
  laptop.sysctl({ 'net.ipv4.tcp_congestion_control': 'reno' });
  const programs: ChildProcess[] = [];
  const start = async (host: Namespace, ...args: string[]): Promise<ChildProcess> => {
    const program = await stage.start(host, 'demo/transports', args);
    programs.push(program);
    return program;
  };
  const rows: string[][] = [];
  const medians: number[] = [];
  try {
    await start(internet, 'internet', 'slow', `${DELAY}`, `${LOSS}`);
    await start(gateway, 'tunnel', 'tun1');
    await start(laptop, 'tunnel', 'tun1', ADDRESS.office.v4);
    const receiver = await start(gateway, 'receive', `${SECONDS * 1000}`);
    for (const [transport, address] of [
      ['UDP', INNER.gateway],
      ['TCP', OVER_TCP.gateway],
    ] as const) {
      const [said, bytes] = await Promise.all([
        stage.quietly(laptop, ['ping', '-i', '0.1', '-w', `${SECONDS}`, address]),
        nextLine(receiver),
        start(laptop, 'send', address),
      ]);
      const megabits = (Number(bytes) * 8) / SECONDS / 1e6;
      const times = pingTimes(said);
      const [median, slowest] = [times[times.length >> 1]!, times.at(-1)!];
      medians.push(median);
      rows.push([transport, `${megabits.toFixed(1)} Mbit/s`, ms(median), ms(slowest)]);
    }
  } finally {
    for (const program of programs) program.kill();
    internet.ip(['link del slow']);
    for (const host of [laptop, gateway]) host.ip(['link del tun1']);
  }
  await stage.table(['tunnel over', 'stream', 'ping, median', 'ping, slowest'], rows);
  const times = (medians[1]! / medians[0]!).toFixed(1);
  await stage.text(
    `Over TCP the ping takes *${times} times* as long. The outer TCP repairs each loss, so the inner TCP sends on. ` +
      'Packets pile up, and all wait behind each lost one.',
  );
}

/** The devices of the tunnel over TCP, and the one that makes the internet slow. */
function makeDevices(stage: Stage): void {
  const { laptop, gateway, internet } = stage.topology;
  internet.ip([
    'tuntap add dev slow mode tun',
    'link set slow up',
    'route add default dev slow table 100',
    'rule add iif home0 lookup 100',
    'rule add iif office lookup 100',
  ]);
  for (const [host, address] of [
    [gateway, OVER_TCP.gateway],
    [laptop, OVER_TCP.laptop],
  ] as const)
    host.ip([
      'tuntap add dev tun1 mode tun',
      `address add ${address}/24 dev tun1`,
      'link set tun1 mtu 1468 up',
    ]);
}

/**
 * @returns round trips in milliseconds, from the fastest on
 * @throws LametunError when there was no answer
 */
function pingTimes(said: string): number[] {
  const times = [...said.matchAll(/ time=([\d.]+) ms/g)].map(([, time]) => Number(time));
  if (times.length === 0)
    throw new LametunError('linux', 'no ping was answered in the comparison of UDP and TCP');
  return times.sort((a, b) => a - b);
}

const ms = (time: number): string => `${Math.round(time)} ms`;
