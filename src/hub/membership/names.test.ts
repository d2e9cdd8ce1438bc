import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toName, uniqueName } from './names.js';

test('any machine name becomes a valid name', () => {
  for (const [wish, label] of [
    ['Office', 'office'],
    ['office.example.org', 'office'],
    ['', 'node'],
    ['日本', 'node'],
    ['42', 'node-42'],
    ['localhost', 'node-localhost'],
    ['4'.repeat(63), `node-${'4'.repeat(58)}`],
  ] as const)
    assert.equal(toName(wish), label);
});

test('a taken name gets a number, and stays a label', () => {
  const taken = new Set(['a', 'a-2', 'b'.repeat(63)]);
  const isTaken = (name: string): boolean => taken.has(name);
  assert.equal(uniqueName('c', isTaken), 'c');
  assert.equal(uniqueName('A', isTaken), 'a-3');
  assert.equal(uniqueName('b'.repeat(63), isTaken), `${'b'.repeat(61)}-2`);
});
