import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { LONGEST, longestFirst } from './order.js';

test('the longest files start first, by length, and the rest by name', () => {
  const [first, second] = LONGEST.map((file) => `/dist/${file}.test.js`) as [string, string];
  const files = ['/dist/src/b.test.js', second, '/dist/src/a.test.js', first];
  assert.deepEqual(longestFirst(files, '/dist'), [
    first,
    second,
    '/dist/src/a.test.js',
    '/dist/src/b.test.js',
  ]);
});

test('the long files exist', () => {
  for (const file of LONGEST) assert.ok(existsSync(new URL(`../../${file}.test.js`, import.meta.url)), file);
});
