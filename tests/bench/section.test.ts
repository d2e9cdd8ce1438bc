import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Hosts } from './hosts.js';
import { tables } from './report.js';
import { runSection, type Section } from './section.js';

/** Not used by these sections. */
const HOSTS = {} as Hosts;

/** A section whose second subject fails in its second round. */
function section(order: string[]): Section {
  return {
    name: 'one',
    title: 'One',
    prepare: async () => ({
      metrics: { a: { unit: 'ms', better: 'less' } },
      subjects: ['ours', 'theirs'],
      measure: async (subject) => {
        order.push(subject);
        if (subject === 'theirs' && order.length > 2) throw new Error('it ended');
        return { a: order.length };
      },
    }),
  };
}

test('subjects are measured in turn, each round starting with another one', async () => {
  const order: string[] = [];
  await runSection(section(order), HOSTS, 3, () => {});
  assert.deepEqual(order, ['ours', 'theirs', 'theirs', 'ours', 'ours', 'theirs']);
});

test('a failure of one subject is reported, and leaves the other measurements intact', async () => {
  const results = await runSection(section([]), HOSTS, 3, () => {});
  assert.deepEqual(results.rounds, { ours: [{ a: 1 }, { a: 4 }, { a: 5 }], theirs: [{ a: 2 }, {}, {}] });
  assert.deepEqual(results.failures, ['theirs, round 2: it ended', 'theirs, round 3: it ended']);
  assert.match(tables(results, 80), /^a, ms +4 ±75% +2 +-$/m);
});
