/**
 * Runs scenarios of the virtual network: `npm run virtual -- SEED [NODES]` plays one again and prints what happened.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { type Happening, Scenario } from '../kit/virtual/scenario.js';

/** Seeds from `first`, `step` apart, to `last`. */
export interface Batch {
  readonly first: number;
  readonly last: number;
  readonly step: number;
  /** How many nodes begin; 10 to 20 if not given. */
  readonly nodes?: number | undefined;
}

export interface Failure {
  readonly seed: number;
  readonly nodes: number;
  readonly violations: readonly string[];
  readonly happenings: readonly Happening[];
}

/** How many nodes a scenario begins with, unless somebody wants it otherwise. */
const nodesOf = (seed: number): number => 10 + (seed % 11);

async function play(seed: number, nodes = nodesOf(seed)): Promise<Failure> {
  const scenario = new Scenario({ seed, nodes });
  try {
    await scenario.run();
  } catch (error) {
    scenario.violations.push((error as Error).stack ?? `${error}`);
  }
  return { seed, nodes, violations: scenario.violations, happenings: scenario.world.happenings };
}

async function playBatch({ first, last, step, nodes }: Batch): Promise<void> {
  for (let seed = first; seed <= last; seed += step) {
    const failure = await play(seed, nodes);
    if (failure.violations.length > 0) parentPort!.postMessage(failure);
  }
}

async function replay(args: readonly string[]): Promise<void> {
  const [seed, nodes] = args.map(Number);
  if (seed === undefined || !Number.isSafeInteger(seed) || (nodes !== undefined && !(nodes >= 3))) {
    process.stderr.write('usage: npm run virtual -- SEED [NODES]\n');
    process.exitCode = 2;
    return;
  }
  const { violations, happenings, nodes: count } = await play(seed, nodes);
  const lines = happenings.map(({ at, text }) => `${(at / 1_000).toFixed(3).padStart(9)} s  ${text}`);
  const end = violations.length === 0 ? 'everything holds' : `${violations.length} violations`;
  process.stdout.write([...lines, `seed ${seed}, ${count} nodes: ${end}`, ''].join('\n'));
  if (violations.length > 0) process.exitCode = 1;
}

if (parentPort !== null) await playBatch(workerData as Batch);
else await replay(process.argv.slice(2));
