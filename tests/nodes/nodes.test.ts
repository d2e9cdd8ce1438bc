import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { IN_NAMESPACES, unitTests } from './files.js';
import { NODES } from './versions.js';

test('the oldest tested Node.js is the minimum that package.json names', () => {
  const { engines } = JSON.parse(readFileSync('package.json', 'utf8')) as { engines: { node: string } };
  assert.equal(engines.node, `>=${NODES[0]!.split('.').slice(0, 2).join('.')}`);
});

test('other versions run the tests beside the code, except those that need root or a database', () => {
  const files = unitTests();
  assert.ok(files.length > 100, `${files.length} files`);
  for (const file of ['src/crypto/x25519.test.ts', 'src/ip/allocation.test.ts', 'tests/structs.test.ts'])
    assert.ok(files.includes(file), file);
  assert.ok(existsSync('src/hub/store/store.test.ts'));
  assert.ok(!files.includes('src/hub/store/store.test.ts'));
  for (const file of [...files, ...IN_NAMESPACES]) assert.ok(existsSync(file), file);
});
