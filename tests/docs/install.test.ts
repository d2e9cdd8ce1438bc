import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const page = readFileSync('docs/INSTALL.md', 'utf8');
const blocks = [...page.matchAll(/<!-- install: ([\w-]+) -->\n```\w+\n[\s\S]*?```\n<!-- end -->/g)];
const names = blocks.map((block) => block[1]!);
const tests = readdirSync('tests/install')
  .filter((file) => file.endsWith('.test.ts'))
  .map((file) => readFileSync(join('tests/install', file), 'utf8'))
  .join('\n');

test('a test of installation names each block of docs/INSTALL.md, and no other', () => {
  assert.ok(names.length > 5);
  assert.deepEqual(
    names.filter((name) => !tests.includes(`'${name}'`)),
    [],
  );
  const used = [...tests.matchAll(/installBlock\('([\w-]+)'\)/g)].map((match) => match[1]!);
  assert.ok(used.length > 3);
  assert.deepEqual(
    used.filter((name) => !names.includes(name)),
    [],
  );
});

test('docs/INSTALL.md has no commands outside such blocks, but those that need a container engine', () => {
  const notRun = [...page.matchAll(/<!-- not run: ([\w-]+) -->\n```\w/g)].map(([, name]) => name);
  assert.deepEqual(notRun, ['image-load', 'image-hub', 'image-node', 'image-sidecar']);
  assert.equal(page.match(/^```\w/gm)?.length, blocks.length + notRun.length);
});
