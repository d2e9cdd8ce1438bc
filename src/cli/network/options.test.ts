import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LametunError } from '../../errors.js';
import { collect, givenLabel, givenNetwork, givenNode, parseDuration } from './options.js';

test('a name is accepted unchanged, or refused with a suggestion', () => {
  assert.equal(givenLabel('--name', 'office-2'), 'office-2');
  assert.throws(() => givenLabel('--name', 'My Office'), /as "my-office"/);
  assert.throws(() => givenLabel('--name', ''), LametunError);
});

test('a time has a unit and a maximum', () => {
  assert.equal(parseDuration('--expires', '90m'), 5400);
  assert.equal(parseDuration('--expires', '7d'), 604_800);
  for (const wrong of ['', '5', 'm', '0s', '1w', '-1h', '400d', '1.5h'])
    assert.throws(() => parseDuration('--expires', wrong), /30m, 24h or 7d/);
});

test('a repeated option collects its values, with commas or without', () => {
  assert.deepEqual(collect('--share', 'b,c', collect('--share', 'a')), ['a', 'b', 'c']);
});

test('an entry of a list is neither empty nor given twice', () => {
  for (const text of ['', ',', 'a,', ',a'])
    assert.throws(() => collect('--public', text), /has an empty entry/);
  assert.throws(() => collect('--public', 'a', ['a']), /--public a is given twice/);
  assert.throws(
    () => collect('--share', 'fd00:0::/64', ['fd00::/64'], givenNetwork),
    /--share fd00::\/64 is given twice/,
  );
});

test('a network is normalized, or refused with a suggestion', () => {
  assert.equal(givenNetwork('--share', 'FD00:0::/64'), 'fd00::/64');
  for (const [text, says] of [
    ['192.168.2.5/24', /--share 192\.168\.2\.5\/24 .*did you mean 192\.168\.2\.0\/24\?/],
    ['attic', /--share "attic" is not a network: write it as/],
    ['192.168.2.0', /is not a network/],
  ] as const)
    assert.throws(() => givenNetwork('--share', text), { code: 'usage', message: says });
});

test('a node is given by name or number', () => {
  for (const name of ['laptop', '7']) assert.equal(givenNode(name), name);
  for (const name of ['', 'My Laptop', 'a'.repeat(64)])
    assert.throws(() => givenNode(name), { code: 'usage', message: /no node/ });
});
