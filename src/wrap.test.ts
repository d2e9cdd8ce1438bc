import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lineBreaks, wrap } from './wrap.js';

test('lines break between words, and a word longer than a line stays whole', () => {
  assert.deepEqual(wrap('one two three', 7, 2), ['one two', '  three']);
  assert.deepEqual(wrap('a incomprehensibilities b', 8), ['a', 'incomprehensibilities', 'b']);
  assert.deepEqual(wrap('    incomprehensibilities', 8), ['    incomprehensibilities']);
  assert.deepEqual(wrap('as it is', undefined), ['as it is']);
  assert.deepEqual(wrap('', 8), ['']);
});

test('a word longer than a line can be split', () => {
  assert.deepEqual(lineBreaks('abcdef gh', 4, 4, true), [
    [0, 4],
    [4, 6],
    [7, 9],
  ]);
  assert.deepEqual(lineBreaks('abcd efgh', 4, 4, true), [
    [0, 4],
    [5, 9],
  ]);
});
