import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toLabel, uniqueName } from './names.js';

test('whatever a machine is called becomes a DNS label', () => {
  for (const [wish, label] of [
    ['Office', 'office'],
    ['office.example.org', 'office'],
    ["Anna's laptop", 'anna-s-laptop'],
    ['--x--', 'x'],
    ['', 'node'],
    ['日本', 'node'],
    ['42', 'node-42'],
    ['localhost', 'node-localhost'],
    ['a'.repeat(80), 'a'.repeat(63)],
    [`${'a'.repeat(62)}-b`, 'a'.repeat(62)],
  ] as const) {
    assert.equal(toLabel(wish), label);
    assert.match(toLabel(wish), /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
  }
});

test('a name that is taken gets a number, and stays a label', () => {
  const taken = new Set(['a', 'a-2', 'b'.repeat(63)]);
  const isTaken = (name: string): boolean => taken.has(name);
  assert.equal(uniqueName('c', isTaken), 'c');
  assert.equal(uniqueName('A', isTaken), 'a-3');
  assert.equal(uniqueName('b'.repeat(63), isTaken), `${'b'.repeat(61)}-2`);
});
