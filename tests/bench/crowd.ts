import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Crowd, type Return, type Spreading } from '../crowd/crowd.js';
import { Guest } from '../crowd/guest.js';
import { Postgres } from '../kit/postgres.js';
import { cpuOf, memoryOf, memoryPeakOf } from './process.js';
import type { Measurement, Metric, Metrics, Prepared, Section } from './section.js';

const metric = (unit: string, better: Metric['better'] = 'less'): Metric => ({
  unit,
  better,
  compare: 'none',
});

const RETURNS = { 'with a stored map': false, 'without a map': true } as const;

const METRICS: Metrics = {
  'join rate': metric('nodes/s', 'more'),
  ...Object.fromEntries(
    ['request', 'acknowledgment'].flatMap((since) =>
      ['p50', 'p99', 'max'].map((which) => [
        `a change reaches a node, from the ${since}, ${which}`,
        metric('ms'),
      ]),
    ),
  ),
  ...Object.fromEntries(
    Object.keys(RETURNS).flatMap((how) => [
      [`back ${how}: half attached`, metric('s')],
      [`back ${how}: all attached`, metric('s')],
      [`back ${how}: all maps current`, metric('s')],
      [`back ${how}: on the wire`, metric('MB')],
      [`back ${how}: peak memory of the hub`, metric('MB')],
      [`back ${how}: hub CPU, start included`, metric('s')],
    ]),
  ),
  'hub memory, all idle': metric('MB'),
  'hub CPU, all idle': metric('ms/s'),
  'hub CPU per join': metric('ms'),
  'hub CPU per change and node': metric('µs'),
};

/** How many guests join, share a network and are removed, by the number of nodes. */
const GUESTS = [
  { nodes: 10, guests: 20 },
  { nodes: 100, guests: 20 },
  { nodes: 1000, guests: 10 },
  { nodes: 5000, guests: 7 },
] as const;

const IDLE = 6_000;
/** A pause in which the work that an action causes ends, milliseconds. */
const CALM = 3_000;

/**
 * A hub and many nodes without interfaces. `BENCH_CROWD` sets the numbers of nodes, separated by commas.
 * `BENCH_DATABASE=postgres` starts a PostgreSQL server for the hub, on the same processors.
 */
export const CROWD: Section = {
  name: 'crowd',
  title: 'A hub with a growing number of nodes, all on loopback and on the same processors',
  rounds: 1,
  async prepare(): Promise<Prepared> {
    const chosen = process.env['BENCH_CROWD']?.split(',').map(Number) ?? GUESTS.map(({ nodes }) => nodes);
    const postgres = process.env['BENCH_DATABASE'] === 'postgres' ? await Postgres.start() : undefined;
    return {
      metrics: METRICS,
      subjects: chosen.map((nodes) => `${nodes} nodes`),
      measure: async (subject) => measure(Number.parseInt(subject, 10), await postgres?.database()),
      close: () => void postgres?.close(),
    };
  },
};

async function measure(nodes: number, database: string | undefined): Promise<Measurement> {
  const state = mkdtempSync(join(tmpdir(), 'lametun-crowd-'));
  const crowd = await Crowd.start({ processes: nodes < 100 ? 1 : 4, state, database, most: nodes });
  try {
    const measured: Record<string, number> = {};
    const say = (text: string): void => void process.stderr.write(`  ${nodes} nodes: ${text}\n`);
    const cpuAtFirst = cpuOf([crowd.hubPid]);
    measured['join rate'] = (nodes * 1000) / (await crowd.join(nodes));
    measured['hub CPU per join'] = (cpuOf([crowd.hubPid]) - cpuAtFirst) / nodes / 1000;
    say(`joined, ${Math.round(measured['join rate'])} per second`);
    await sleep(CALM);

    const guests = GUESTS.find((each) => each.nodes >= nodes)?.guests ?? 5;
    const changes: Spreading[] = [];
    const cpuBefore = cpuOf([crowd.hubPid]);
    for (let i = 0; i < guests; i++) changes.push(...(await visit(crowd, i)));
    const perNode = (cpuOf([crowd.hubPid]) - cpuBefore) / changes.length / nodes;
    measured['hub CPU per change and node'] = perNode;
    const since = (from: (change: Spreading) => number): number[] =>
      changes.flatMap((change) => change.reached.map((at) => Math.max(0, at - from(change)))).sort(ascending);
    for (const [name, times] of [
      ['request', since(({ asked }) => asked)],
      ['acknowledgment', since(({ done }) => done)],
    ] as const) {
      measured[`a change reaches a node, from the ${name}, p50`] = quantile(times, 0.5);
      measured[`a change reaches a node, from the ${name}, p99`] = quantile(times, 0.99);
      measured[`a change reaches a node, from the ${name}, max`] = times.at(-1)!;
    }
    say(
      `${changes.length} changes, 99 % received within ${Math.round(
        quantile(
          since(({ asked }) => asked),
          0.99,
        ),
      )} ms`,
    );

    for (const [how, forget] of Object.entries(RETURNS)) {
      const before = loopbackBytes();
      const back = await crowd.killHub(forget);
      const name = `back ${how}`;
      measured[`${name}: on the wire`] = (loopbackBytes() - before) / 1e6;
      measured[`${name}: peak memory of the hub`] = memoryPeakOf(crowd.hubPid);
      measured[`${name}: hub CPU, start included`] = cpuOf([crowd.hubPid]) / 1e6;
      Object.assign(measured, times(name, back));
      say(`${name} in ${measured[`${name}: all maps current`]!.toFixed(1)} s`);
      await sleep(CALM);
    }

    const cpu = cpuOf([crowd.hubPid]);
    await sleep(IDLE);
    measured['hub CPU, all idle'] = (cpuOf([crowd.hubPid]) - cpu) / IDLE;
    measured['hub memory, all idle'] = memoryOf([crowd.hubPid]);
    return measured;
  } finally {
    await crowd.close();
    rmSync(state, { recursive: true, force: true });
  }
}

/** A guest joins, its share is approved, and it is removed: three changes. */
async function visit(crowd: Crowd, number: number): Promise<Spreading[]> {
  let guest: Guest | undefined;
  let id = '';
  const joined = await crowd.spread(async () => {
    guest = new Guest(crowd.token, `guest${number}`);
    id = await guest.joined();
  });
  await guest!.share(`172.16.${number}.0/24`);
  const approved = await crowd.spread(() => crowd.administer({ op: 'approve', node: id }));
  const removed = await crowd.spread(() => crowd.administer({ op: 'remove', node: id }));
  guest!.close();
  return [joined, approved, removed];
}

function times(name: string, { started, attached, current }: Return): Measurement {
  const seconds = (at: number): number => Math.max(0, at - started) / 1000;
  return {
    [`${name}: half attached`]: seconds(quantile(attached.toSorted(ascending), 0.5)),
    [`${name}: all attached`]: seconds(Math.max(...attached)),
    [`${name}: all maps current`]: seconds(Math.max(...current)),
  };
}

const ascending = (a: number, b: number): number => a - b;
const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)]!;

/** Bytes on loopback so far, with headers and acknowledgments, in segments of up to 64 KB. */
function loopbackBytes(): number {
  const [, received] = /^\s*lo:\s*(\d+)/m.exec(readFileSync('/proc/net/dev', 'utf8')) ?? [];
  return Number(received);
}
