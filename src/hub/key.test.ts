import assert from 'node:assert/strict';
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { NodeCrypto } from '../device/crypto.js';
import { temporaryFolder } from '../testkit/stores.js';
import { loadHubKey } from './key.js';

const crypto = new NodeCrypto();

test('a key is made once, for its owner alone, and nothing else is left', (t) => {
  const folder = join(temporaryFolder(t), 'state');
  const file = join(folder, 'hub.key');
  const made = loadHubKey(crypto, file);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.deepEqual(readdirSync(folder), ['hub.key']);
  assert.deepEqual(loadHubKey(crypto, file).publicKey.bytes, made.publicKey.bytes);
});

test('a key that others can read, or that is none, is refused and left as it is', (t) => {
  const file = join(temporaryFolder(t), 'hub.key');
  loadHubKey(crypto, file);
  chmodSync(file, 0o640);
  assert.throws(() => loadHubKey(crypto, file), /other users can read.*chmod 600/);
  writeFileSync(file, 'nonsense\n');
  chmodSync(file, 0o600);
  assert.throws(() => loadHubKey(crypto, file), /holds no key/);
  assert.equal(readFileSync(file, 'utf8'), 'nonsense\n');
  assert.throws(() => loadHubKey(crypto, '/dev/null/key'), /cannot be had/);
});
