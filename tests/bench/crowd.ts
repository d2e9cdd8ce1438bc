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

const RETURNS = { 'with their map': false, 'without a map': true } as const;

const METRICS: Metrics = {
  'they join': metric('nodes/s', 'more'),
  ...Object.fromEntries(
    ['asked for', 'acknowledged'].flatMap((since) =>
      ['p50', 'p99', 'most'].map((which) => [`a change is known, since ${since}, ${which}`, metric('ms')]),
    ),
  ),
  ...Object.fromEntries(
    Object.keys(RETURNS).flatMap((how) => [
      [`back ${how}: half are attached`, metric('s')],
      [`back ${how}: all are attached`, metric('s')],
      [`back ${how}: all maps are current`, metric('s')],
      [`back ${how}: on the wire`, metric('MB')],
      [`back ${how}: most memory of the hub`, metric('MB')],
      [`back ${how}: CPU of the hub, its start too`, metric('s')],
    ]),
  ),
  "the hub's memory, all idle": metric('MB'),
  "the hub's CPU, all idle": metric('ms/s'),
  'CPU of the hub for each that joins': metric('ms'),
  'CPU of the hub for each change and node': metric('µs'),
};

/** By nodes: how many times a guest comes, shares, and goes. */
const GUESTS = [
  { nodes: 10, guests: 20 },
  { nodes: 100, guests: 20 },
  { nodes: 1000, guests: 10 },
  { nodes: 5000, guests: 7 },
] as const;

const IDLE = 6_000;
/** Until what follows upon something is over, milliseconds. */
const CALM = 3_000;

/**
 * A hub and many nodes on it, which are everything that a node is but its device. `BENCH_CROWD` names other numbers of
 * nodes than usual, separated by commas; `BENCH_DATABASE=postgres` has the hub on a PostgreSQL server of its own, on the
 * same processors, too.
 */
export const CROWD: Section = {
  name: 'crowd',
  title: 'A hub and its nodes, all on loopback, on the same processors: how it grows with the nodes',
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
    measured['they join'] = (nodes * 1000) / (await crowd.join(nodes));
    measured['CPU of the hub for each that joins'] = (cpuOf([crowd.hubPid]) - cpuAtFirst) / nodes / 1000;
    say(`joined, ${Math.round(measured['they join'])} a second`);
    await sleep(CALM);

    const guests = GUESTS.find((each) => each.nodes >= nodes)?.guests ?? 5;
    const changes: Spreading[] = [];
    const cpuBefore = cpuOf([crowd.hubPid]);
    for (let i = 0; i < guests; i++) changes.push(...(await visit(crowd, i)));
    const perNode = (cpuOf([crowd.hubPid]) - cpuBefore) / changes.length / nodes;
    measured['CPU of the hub for each change and node'] = perNode;
    const since = (from: (change: Spreading) => number): number[] =>
      changes.flatMap((change) => change.reached.map((at) => Math.max(0, at - from(change)))).sort(ascending);
    for (const [name, times] of [
      ['asked for', since(({ asked }) => asked)],
      ['acknowledged', since(({ done }) => done)],
    ] as const) {
      measured[`a change is known, since ${name}, p50`] = quantile(times, 0.5);
      measured[`a change is known, since ${name}, p99`] = quantile(times, 0.99);
      measured[`a change is known, since ${name}, most`] = times.at(-1)!;
    }
    say(
      `${changes.length} changes, 99 % known in ${Math.round(
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
      measured[`${name}: most memory of the hub`] = memoryPeakOf(crowd.hubPid);
      measured[`${name}: CPU of the hub, its start too`] = cpuOf([crowd.hubPid]) / 1e6;
      Object.assign(measured, times(name, back));
      say(`${name} in ${measured[`${name}: all maps are current`]!.toFixed(1)} s`);
      await sleep(CALM);
    }

    const cpu = cpuOf([crowd.hubPid]);
    await sleep(IDLE);
    measured["the hub's CPU, all idle"] = (cpuOf([crowd.hubPid]) - cpu) / IDLE;
    measured["the hub's memory, all idle"] = memoryOf([crowd.hubPid]);
    return measured;
  } finally {
    await crowd.close();
    rmSync(state, { recursive: true, force: true });
  }
}

/** A guest joins, what it shares is approved, it is removed: three changes. */
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
    [`${name}: half are attached`]: seconds(quantile(attached.toSorted(ascending), 0.5)),
    [`${name}: all are attached`]: seconds(Math.max(...attached)),
    [`${name}: all maps are current`]: seconds(Math.max(...current)),
  };
}

const ascending = (a: number, b: number): number => a - b;
const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)]!;

/** With all headers and acknowledgements, in segments of up to 64 KB. */
function loopbackBytes(): number {
  const [, received] = /^\s*lo:\s*(\d+)/m.exec(readFileSync('/proc/net/dev', 'utf8')) ?? [];
  return Number(received);
}
