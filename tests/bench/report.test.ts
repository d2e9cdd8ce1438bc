import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare, spread, tables } from './report.js';
import type { Rounds } from './section.js';

const rounds = (...values: number[]) => values.map((value) => ({ ping: value }));
const METRICS = { ping: { unit: 'ms', better: 'less' } } as const;
const table = (of: Rounds, width = 100) =>
  tables({ section: '', title: '', metrics: METRICS, rounds: of }, width);

test('the spread of an odd and of an even number of unsorted values', () => {
  assert.deepEqual(spread([10, 1, 2]), { median: 2, least: 1, most: 10, rounds: 3 });
  assert.equal(spread([4, 1, 3, 2])?.median, 2.5);
  assert.equal(spread([]), undefined);
});

test('a ratio is the median of the ratios of each round, so slow rounds do not distort it', () => {
  const of: Rounds = { ours: rounds(2, 20, 200), other: rounds(1, 10, 100) };
  assert.deepEqual(compare(of, 'ours', 'other', 'ping'), { median: 2, least: 2, most: 2, rounds: 3 });
});

test('fewer than three rounds give no ratio', () => {
  const of: Rounds = { ours: rounds(2, 20), other: rounds(1, 10) };
  assert.equal(compare(of, 'ours', 'other', 'ping'), undefined);
  assert.match(table(of), /^ping, ms +11 ±82% +5\.5 ±82% +-$/m);
});

test('a round without both values does not count toward a ratio', () => {
  const of: Rounds = { ours: rounds(2, 2, 2, 2), other: [{}, ...rounds(1, 1, 2)] };
  assert.equal(compare(of, 'ours', 'other', 'ping')?.median, 2);
  assert.equal(
    compare({ ours: rounds(2, 2, 2), other: [{}, ...rounds(1, 1)] }, 'ours', 'other', 'ping'),
    undefined,
  );
});

test('metrics that may be zero are compared by difference', () => {
  const of: Rounds = { ours: rounds(1, 2, 3), other: rounds(0, 0, 2) };
  assert.equal(compare(of, 'ours', 'other', 'ping', 'difference')?.median, 1);
});

test('metrics with `compare: none` are not compared', () => {
  const results = { section: '', title: '', rounds: { '10 nodes': rounds(2), '100 nodes': rounds(4) } };
  const metrics = { ping: { unit: 'ms', better: 'less', compare: 'none' } } as const;
  assert.match(tables({ ...results, metrics }, 100), /^ping, ms +2 +4$/m);
});

test('subjects that do not fit beside the first one are printed below', () => {
  const of: Rounds = { ours: rounds(2, 2, 2), one: rounds(1, 1, 1), another: rounds(4, 4, 4) };
  assert.equal(table(of).split('\n').length, 2);
  const narrow = table(of, 40);
  assert.equal(narrow.match(/ours/g)?.length, 2);
  assert.match(narrow, /^ping, ms +2 ±0% +4 ±0% +0\.50x$/m);
});
