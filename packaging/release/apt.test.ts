import assert from 'node:assert/strict';
import { test } from 'node:test';
import { releaseFile } from './apt.js';

test('the release file names each index with its sum and size', () => {
  const text = releaseFile(new Map([['main/binary-amd64/Packages', Buffer.from('abc')]]), 1_796_000_000);
  assert.match(text, /^Date: Mon, 30 Nov 2026 00:53:20 UTC$/m);
  // FIPS 180-2, B.1: the sum of "abc".
  const sum = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
  assert.ok(text.endsWith(`\nSHA256:\n ${sum} 3 main/binary-amd64/Packages\n`));
});
