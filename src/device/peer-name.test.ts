import assert from 'node:assert/strict';
import { test } from 'node:test';
import { peerName } from './peer-name.js';

test('a peer is named by the first and last characters of its public key', () => {
  assert.equal(peerName(new Uint8Array(32).fill(0xab)), 'peer(q6ur…rq6s)');
});
