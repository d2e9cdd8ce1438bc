import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problems } from './checks.js';

const good = {
  version: '1.0.0',
  changelog: '## [1.0.0] - 2026-12-01\n',
  changes: '',
  tags: ['v0.9.0'],
  missing: [],
};

test('a clean, dated, new version can be released', () => {
  assert.deepEqual(problems(good), []);
});

test('each obstacle to a release is named', () => {
  const bad = {
    version: '1.0.0',
    changelog: '## [1.0.0]\n## [1x0.0] - 2026-12-01\n',
    changes: ' M a\n',
    tags: ['v1.0.0'],
    missing: ['out/a.deb'],
  };
  assert.deepEqual(
    problems(bad).map((line) => line.split(' ').slice(0, 3).join(' ')),
    ['the clone has', 'CHANGELOG.md has no', 'the tag v1.0.0', 'out/a.deb is missing:'],
  );
});
