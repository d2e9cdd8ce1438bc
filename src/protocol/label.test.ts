import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isHostName, isLabel, toLabel } from './label.js';

test('any machine name becomes a DNS label, or nothing', () => {
  for (const [text, label] of [
    ['Office', 'office'],
    ['office.example.org', 'office'],
    ["Anna's Laptop.local", 'annas-laptop'],
    ['--_x_--', 'x'],
    ['xn--bcher-kva', 'xn--bcher-kva'],
    ['a'.repeat(80), 'a'.repeat(63)],
    [`${'a'.repeat(62)}-b`, 'a'.repeat(62)],
    ['日本', undefined],
    ['', undefined],
  ] as const)
    assert.equal(toLabel(text), label);
});

test('toLabel makes a label, and leaves a label unchanged', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'aZ09-_. é') }), (text) => {
      const label = toLabel(text);
      if (label !== undefined) assert.ok(isLabel(label), label);
      if (isLabel(text)) assert.equal(label, text);
    }),
  );
});

test('a host name consists of labels, and cannot be mistaken for an IPv4 address', () => {
  for (const name of ['a', 'Hub.Example.com', '1.example', 'a-b.c']) assert.ok(isHostName(name), name);
  for (const name of ['', '.', 'a.', 'a..b', '-a.b', '1.2.3', '12', 'a_b', `${'a.'.repeat(127)}`])
    assert.ok(!isHostName(name), name);
});
