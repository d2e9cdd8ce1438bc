import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesText, durationText, latencyText, table } from './table.js';

test('columns are as wide as their widest cell, without trailing spaces', () => {
  assert.deepEqual(
    table([
      ['a', 'bb', ''],
      ['ccc', 'd', '→'],
    ]),
    ['a    bb', 'ccc  d   →'],
  );
});

test('numbers are short, with a fitting unit', () => {
  assert.deepEqual([0, 999, 1000, 9_949, 9_950, 12_345_678, 1e15].map(bytesText), [
    ...['0 B', '999 B', '1.0 kB', '9.9 kB', '10 kB', '12 MB', '1.0 PB'],
  ]);
  assert.deepEqual([0, 99_000, 100_000, 5_940_000, 2e8].map(durationText), [
    '0 s',
    '99 s',
    '2 min',
    '2 h',
    '2 d',
  ]);
  assert.deepEqual([0.04, 9.94, 9.96].map(latencyText), ['0.0 ms', '9.9 ms', '10 ms']);
});
