import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LametunError } from '../../errors.js';
import { collect, givenLabel, parseDuration, toLabel } from './place.js';

test("a machine's name becomes a DNS label", () => {
  assert.equal(toLabel("Anna's Laptop.local"), 'annas-laptop');
  assert.equal(toLabel('--_x_--'), 'x');
  assert.equal(toLabel('a'.repeat(80))?.length, 63);
  assert.equal(toLabel('日本'), undefined);
});

test('a name that was given is taken as it is or refused, with a suggestion', () => {
  assert.equal(givenLabel('--name', 'office-2'), 'office-2');
  assert.throws(() => givenLabel('--name', 'My Office'), /as "my-office"/);
  assert.throws(() => givenLabel('--name', ''), LametunError);
});

test('times have a unit and an end', () => {
  assert.equal(parseDuration('--expires', '90m'), 5400);
  assert.equal(parseDuration('--expires', '7d'), 604_800);
  for (const wrong of ['', '5', 'm', '0s', '1w', '-1h', '400d', '1.5h'])
    assert.throws(() => parseDuration('--expires', wrong), /30m, 24h or 7d/);
});

test('a repeated option collects, with commas or without', () => {
  assert.deepEqual(collect('b,c', collect('a')), ['a', 'b', 'c']);
});
