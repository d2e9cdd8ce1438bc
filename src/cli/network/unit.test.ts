import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { LametunError } from '../../errors.js';
import { install, unitFor } from './unit.js';

const place = { state: '/var/lib/lametun', device: 'lametun0' };

test('the standard place has the plain name, another one its device in it', () => {
  assert.equal(unitFor(place, ['/usr/bin/node']).name, 'lametun.service');
  assert.equal(unitFor({ ...place, device: 'a+b' }, ['/usr/bin/node']).name, 'lametun-a_b.service');
});

test('arguments reach the program as they are', () => {
  const { text } = unitFor(place, ['/usr/bin/node', '/opt/a b/main.js', 'up', '--state', '/s/50%/$x"']);
  assert.match(text, /^ExecStart=\/usr\/bin\/node "\/opt\/a b\/main\.js" up --state "\/s\/50%%\/\$\$x\\""$/m);
});

test('a unit is written whole, readable, and where it cannot be, that is said', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-unit-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const unit = unitFor(place, ['/usr/bin/node']);
  const { path } = install(unit, join(folder, 'new'));
  assert.equal(readFileSync(path, 'utf8'), unit.text);
  assert.equal(statSync(path).mode & 0o777, 0o644);
  assert.throws(
    () => install(unit, path),
    (error) => error instanceof LametunError && /cannot write/.test(error.message),
  );
});
