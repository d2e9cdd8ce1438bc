import assert from 'node:assert/strict';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Batch, Failure } from './run.js';

/** How many of the last things that happened a failing test shows. */
const SHOWN = 30;

/** Megabytes: almost everything in a scenario is short-lived, and dies before it is moved. */
const resourceLimits = { maxYoungGenerationSizeMb: 128 };

/** Plays the seeds 1 to `last`, on all processors. */
export async function failures(last: number, nodes?: number): Promise<Failure[]> {
  const found: Failure[] = [];
  const step = availableParallelism();
  const workers = Array.from({ length: step }, (_, i) => {
    const workerData: Batch = { first: i + 1, last, step, nodes };
    const worker = new Worker(new URL('./run.js', import.meta.url), { workerData, resourceLimits });
    worker.on('message', (failure: Failure) => found.push(failure));
    return once(worker, 'exit');
  });
  for (const [code] of await Promise.all(workers)) assert.equal(code, 0);
  return found.sort((a, b) => a.seed - b.seed);
}

export function report(found: readonly Failure[]): string {
  const [first] = found;
  if (first === undefined) return '';
  const { seed, nodes, violations, happenings } = first;
  return [
    `${found.length} seeds fail: ${found.map((failure) => failure.seed).join(', ')}`,
    `seed ${seed}, again by \`npm run virtual -- ${seed} ${nodes}\`:`,
    ...violations.map((violation) => `  ${violation}`),
    'What happened last:',
    ...happenings.slice(-SHOWN).map(({ at, text }) => `  ${(at / 1_000).toFixed(3)} s  ${text}`),
  ].join('\n');
}
