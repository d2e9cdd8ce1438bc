import { setImmediate as turn } from 'node:timers/promises';
import { Relay } from '../../src/hub/relay/relay.js';
import { frameTo, RelayMember, relayable } from '../kit/relay-member.js';
import type { Hosts } from './hosts.js';
import type { Measurement, Metric, Prepared, Section } from './section.js';

const RATE: Metric = { unit: 'frames/s', better: 'more' };
const CPU: Metric = { unit: 'µs/frame', better: 'less' };

/** A full packet at MTU 1280, sealed, bytes. */
const LENGTH = 1280 + 32;

/** How frames are sent: alone, or in runs like a TCP stream of a node. */
const KINDS = [
  { name: 'frames one by one', perRun: 1, steady: 40 },
  { name: 'runs of 40 frames', perRun: 40, steady: 200 },
] as const;

/** Two members and the hub's relay on loopback: the highest rate, and the CPU time for each frame. */
export const RELAY: Section = {
  name: 'relay',
  title: "Frames from one member to another through the hub's relay, over UDP on loopback",
  async prepare(hosts): Promise<Prepared> {
    return {
      metrics: Object.fromEntries(
        KINDS.flatMap(({ name, steady }) => [
          [`highest rate, ${name}`, RATE],
          [`hub CPU, ${name}, ${steady} 000 per second`, CPU],
        ]),
      ),
      subjects: ['lametun'],
      measure: () => measure(hosts),
    };
  },
};

async function measure(hosts: Hosts): Promise<Measurement> {
  const measured: Record<string, number> = {};
  for (const { name, perRun, steady } of KINDS) {
    measured[`highest rate, ${name}`] = (await relayed(hosts.seconds, perRun, Infinity)).rate;
    const { cpu } = await relayed(hosts.seconds, perRun, steady);
    measured[`hub CPU, ${name}, ${steady} 000 per second`] = cpu;
  }
  return measured;
}

/** @returns relayed frames per second, and the relay's CPU time for each, µs */
async function relayed(
  seconds: number,
  perRun: number,
  perMillisecond: number,
): Promise<{ readonly rate: number; readonly cpu: number }> {
  const relay = await Relay.start({
    port: 0,
    memberRate: 1e12,
    onFrame: () => {},
    onFailed: (error) => {
      throw error;
    },
  });
  const [from, to] = [new RelayMember(relay.port), new RelayMember(relay.port)];
  try {
    to.receiveBundles();
    await from.bind(relay.attach(1));
    await to.bind(relay.attach(2));
    const flood = from.flood(frameTo(2, relayable(LENGTH)), { perRun, perMillisecond });
    const run = async (milliseconds: number): Promise<void> => {
      for (const end = performance.now() + milliseconds; performance.now() < end; await turn()) to.discard();
    };
    await run(500); // compiles the code
    const before = relay.counters();
    const began = performance.now();
    await run(seconds * 1000);
    const after = relay.counters();
    const elapsed = performance.now() - began;
    await flood.stop();
    const frames = after.out.udp.frames - before.out.udp.frames;
    return { rate: (frames * 1000) / elapsed, cpu: ((after.cpu - before.cpu) * 1000) / frames };
  } finally {
    from.close();
    to.close();
    await relay.close();
  }
}
