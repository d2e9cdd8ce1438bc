import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Results, ratio, spread, table } from './report.js';

const PING = 'ping, round trip';
const rounds = (...values: number[]) => values.map((value) => ({ [PING]: value }));

test('the middle of an odd and of an even number of values, whatever their order', () => {
  assert.deepEqual(spread([10, 1, 2]), { median: 2, least: 1, most: 10, rounds: 3 });
  assert.equal(spread([4, 1, 3, 2])?.median, 2.5);
  assert.equal(spread([]), undefined);
});

test('a ratio is the middle of the ratios of each round, so that a slow hour does not count', () => {
  const results: Results = { ours: rounds(2, 20, 200), other: rounds(1, 10, 100) };
  assert.deepEqual(ratio(results, 'ours', 'other', PING), { median: 2, least: 2, most: 2, rounds: 3 });
});

test('there is no ratio of fewer than three rounds', () => {
  const results: Results = { ours: rounds(2, 20), other: rounds(1, 10) };
  assert.equal(ratio(results, 'ours', 'other', PING), undefined);
  assert.match(table(results, 'ours'), /^ping, round trip, ms +11 \(2-20\) +5\.5 \(1-10\) +-$/m);
});

test('a round that lacks one of the two is no part of a ratio', () => {
  const results: Results = { ours: rounds(2, 2, 2, 2), other: [{}, ...rounds(1, 1, 2)] };
  assert.equal(ratio(results, 'ours', 'other', PING)?.median, 2);
  assert.equal(
    ratio({ ours: rounds(2, 2, 2), other: [{}, ...rounds(1, 1)] }, 'ours', 'other', PING),
    undefined,
  );
});
