import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type {
  ControlAnswers,
  ControlCommand,
  ControlRequest,
  PeerStatus,
} from '../../src/node/control/control.js';
import { askControl } from '../../src/node/control/control-client.js';
import { type Machine, NetworkLab, type SiteOptions } from '../kit/network-lab.js';
import type { Running } from '../kit/running.js';
import { ping, runOn } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, join } from '../network/join.js';
import type { Hosts } from './hosts.js';
import { cpuOf } from './process.js';
import type { Measurement, Metrics, Prepared, Section } from './section.js';

/** TCP payload of a full packet at MTU 1280, IPv4, with timestamps: sealed and framed it is 1320 bytes for the relay. */
const SEGMENT = 1228;

const METRICS: Metrics = {
  'TCP, one stream': { unit: 'Mbit/s', better: 'more' },
  'hub CPU per full packet': { unit: 'µs', better: 'less', compare: 'none' },
  'ping, round trip': { unit: 'ms', better: 'less' },
  'from Enter to the first answer by name': { unit: 's', better: 'less' },
  'share approved, from the request until it is routed': { unit: 'ms', better: 'less', compare: 'none' },
};

/** How two nodes are connected, and the path that they use. */
const KINDS: readonly { readonly name: string; readonly site: SiteOptions; readonly path: string }[] = [
  { name: 'direct', site: { access: 'public' }, path: 'direct' },
  { name: 'relayed over UDP', site: { access: 'hard' }, path: 'relayed' },
  { name: 'relayed over WebSocket', site: { access: 'hard', blocked: 'udp' }, path: 'relayed' },
];

interface Pair {
  /** The near node's name in the network. */
  readonly name: string;
  readonly near: Machine;
  readonly far: Machine;
  /** A machine of the same kind that joins in each round. */
  readonly fresh: Machine;
  readonly farAddress: string;
}

/** Real nodes in namespaces, each started with one command: the relay compared with the direct path. */
export const NETWORK: Section = {
  name: 'network',
  title: 'Two nodes of a network and its hub, each on its own machine: direct and through the relay',
  async prepare(hosts): Promise<Prepared> {
    const cleaners: (() => Promise<void> | void)[] = [];
    const lab = new NetworkLab({ after: (cleaner) => void cleaners.push(cleaner as () => Promise<void>) });
    const hubMachine = lab.site('hub').machine;
    const hub = await hubAlone(hubMachine);
    const token = invite(hubMachine, '--reusable');
    const pairs = new Map<string, Pair>();
    for (const [i, { name, site, path }] of KINDS.entries()) {
      const [near, far, fresh] = ['near', 'far', 'fresh'].map(
        (which) => lab.site(`${which}${i}`, site).machine,
      );
      for (const machine of [near!, far!]) await join(machine, token).says(/is up/);
      pairs.set(name, {
        name: near!.name,
        near: near!,
        far: far!,
        fresh: fresh!,
        farAddress: await reached(near!, far!.name, path),
      });
    }
    let shares = 0;
    return {
      metrics: METRICS,
      subjects: KINDS.map(({ name }) => name),
      measure: async (subject) => {
        const pair = pairs.get(subject)!;
        return {
          ...(await stream(hosts, hub, pair)),
          'ping, round trip':
            (await ping(pair.near.namespace, pair.farAddress, { count: 40 })).average ?? Number.NaN,
          'from Enter to the first answer by name': await newcomer(pair, token),
          'share approved, from the request until it is routed': await approval(
            hubMachine,
            pair,
            `10.99.${shares++}.0/24`,
          ),
        };
      },
      close: () => void Promise.all(cleaners.map((cleaner) => cleaner())),
    };
  },
};

/** Waits until the near node reaches a peer on a path of that kind. @returns the peer's address */
async function reached(near: Machine, name: string, path: string): Promise<string> {
  return until(
    `${name} to be reached, ${path}`,
    async () => {
      const { peers } = await ask(near, { command: 'status' });
      const peer = peers.find((each) => each.name === name) as PeerStatus | undefined;
      if (peer === undefined) return undefined;
      await ping(near.namespace, peer.ipv4);
      return peer.path.kind === path ? peer.ipv4 : undefined;
    },
    20_000,
  );
}

async function stream(hosts: Hosts, hub: Running, { near, far, farAddress }: Pair): Promise<Measurement> {
  const server = far.namespace.spawn('iperf3', ['-s', '-1'], { stdio: 'ignore' });
  const ended = once(server, 'exit');
  try {
    await sleep(300);
    const before = cpuOf([hub.pid]);
    const args = ['-c', farAddress, '-J', '-t', `${hosts.seconds}`, '--connect-timeout', '5000'];
    const { stdout } = await runOn(near.namespace, 'iperf3', args);
    const cpu = cpuOf([hub.pid]) - before;
    const result = JSON.parse(stdout) as {
      error?: string;
      end: { sum_received: { bits_per_second: number; bytes: number } };
    };
    if (result.error !== undefined) throw new Error(`iperf3 to ${farAddress}: ${result.error}`);
    const { bits_per_second: rate, bytes } = result.end.sum_received;
    return { 'TCP, one stream': rate / 1e6, 'hub CPU per full packet': (cpu * SEGMENT) / bytes };
  } finally {
    server.kill('SIGKILL');
    await ended;
  }
}

/** A new machine joins, and pings the far node by name. @returns seconds until the answer */
async function newcomer({ fresh, far }: Pair, token: string): Promise<number> {
  const began = performance.now();
  const running = join(fresh, token);
  try {
    await until(
      `an answer from ${far.name}: ${running.stderr}`,
      () => running.running && fresh.pings(far.name, 1),
      30_000,
    );
    const seconds = (performance.now() - began) / 1000;
    await ask(fresh, { command: 'leave' });
    return seconds;
  } finally {
    await running.stop();
    rmSync(fresh.state, { recursive: true, force: true });
  }
}

/** The near node shares a network, root at the hub approves it, and the far node routes it. @returns milliseconds */
async function approval(hub: Machine, { name, near, far }: Pair, network: string): Promise<number> {
  near.run('ip', 'link', 'add', 'shared', 'type', 'veth', 'peer', 'name', 'nowhere');
  near.run('ip', 'link', 'set', 'nowhere', 'up');
  near.run('ip', 'link', 'set', 'shared', 'up');
  near.run('ip', 'route', 'add', network, 'dev', 'shared');
  await ask(near, { command: 'share', shares: [network] });
  const monitor = far.spawn('ip', 'monitor', 'route');
  await sleep(300); // `ip monitor` does not print when it is ready
  const began = performance.now();
  await ask(hub, { command: 'admin', request: { op: 'approve', node: name } });
  await monitor.says(new RegExp(`^${network} `, 'm'));
  const elapsed = performance.now() - began;
  await monitor.stop();
  await ask(near, { command: 'share', shares: [] });
  near.run('ip', 'link', 'delete', 'shared');
  return elapsed;
}

async function ask<C extends ControlCommand>(
  machine: Machine,
  request: Extract<ControlRequest, { command: C }>,
): Promise<ControlAnswers[C]> {
  let found: ControlAnswers[C] | undefined;
  await askControl<C>(machine.state, request, (answer) => {
    found = answer;
  });
  return found!;
}
