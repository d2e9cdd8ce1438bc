import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../../tests/kit/stores.js';
import { NodeCrypto } from '../crypto/node-crypto.js';
import { makeHubKey, nameNetwork, readHubKey, replaceHubKey } from './key.js';

const crypto = new NodeCrypto();
const network = { id: 'a1', name: 'home' };

test('a key is created once, readable only by its owner, without leaving other files', (t) => {
  const folder = join(temporaryFolder(t), 'state');
  const file = join(folder, 'hub.key');
  assert.equal(readHubKey(crypto, file), undefined);
  const made = makeHubKey(crypto, file);
  assert.equal(made.network, undefined);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.deepEqual(readdirSync(folder), ['hub.key']);
  const { bytes } = made.privateKey.publicKey;
  assert.deepEqual(readHubKey(crypto, file)?.privateKey.publicKey.bytes, bytes);
  assert.deepEqual(
    makeHubKey(crypto, file).privateKey.publicKey.bytes,
    bytes,
    'an existing key is not replaced',
  );
});

test('a key names its network, even through a link to the file', (t) => {
  const folder = temporaryFolder(t);
  const [file, link] = [join(folder, 'hub.key'), join(folder, 'link')];
  const { bytes } = makeHubKey(crypto, file).privateKey.publicKey;
  symlinkSync(file, link);
  assert.equal(nameNetwork(link, network), true);
  for (const path of [file, link]) {
    const found = readHubKey(crypto, path)!;
    assert.deepEqual([found.network, found.privateKey.publicKey.bytes], [network, bytes]);
  }
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const other = replaceHubKey(crypto, file);
  assert.equal(other.network, undefined, 'a new key has no network');
  assert.notDeepEqual(other.privateKey.publicKey.bytes, bytes);
});

test('a key that others can read, or that is malformed, is refused and stays unchanged', (t) => {
  const file = join(temporaryFolder(t), 'hub.key');
  makeHubKey(crypto, file);
  const text = readFileSync(file, 'utf8');
  chmodSync(file, 0o640);
  assert.throws(() => readHubKey(crypto, file), /other users can read.*chmod 600/);
  chmodSync(file, 0o600);
  for (const wrong of ['nonsense\n', '', `${text}network\n`, `${text}network a1 home\nmore\n`]) {
    writeFileSync(file, wrong);
    assert.throws(() => readHubKey(crypto, file), /contains no hub key/);
    assert.equal(readFileSync(file, 'utf8'), wrong);
  }
  assert.throws(() => makeHubKey(crypto, '/dev/null/key'), { code: 'usage' });
});

test('a key is refused if others could replace it or a directory in its path', (t) => {
  const folder = temporaryFolder(t);
  const [open, key] = [join(folder, 'open'), join(folder, 'hub.key')];
  mkdirSync(open);
  makeHubKey(crypto, key);
  makeHubKey(crypto, join(open, 'hub.key'));
  symlinkSync(join(open, 'hub.key'), join(folder, 'there'));
  symlinkSync(key, join(open, 'back'));
  symlinkSync(join(open, 'back'), join(folder, 'there-and-back'));
  chmodSync(open, 0o777);
  assert.ok(readHubKey(crypto, key), 'control');
  for (const name of ['open/hub.key', 'there', 'open/back', 'there-and-back']) {
    const message = new RegExp(`could replace ${join(folder, name)} through .*chmod go-w ${open}`);
    assert.throws(() => readHubKey(crypto, join(folder, name)), { code: 'usage', message }, name);
  }
});

test('a dangling link to a key is not taken for a missing key', (t) => {
  const link = join(temporaryFolder(t), 'hub.key');
  symlinkSync('/nowhere/hub.key', link);
  for (const use of [readHubKey, makeHubKey])
    assert.throws(() => use(crypto, link), {
      code: 'state',
      message: /leads to \/nowhere.*does not exist: mount/,
    });
});
