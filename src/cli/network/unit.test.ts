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

test('what is in a home or a temporary folder is not hidden from it', () => {
  const at = (state: string, program = '/usr/bin/node'): string =>
    unitFor({ ...place, state }, [program]).text;
  assert.match(at('/var/lib/lametun'), /^ProtectHome=read-only\nPrivateTmp=yes$/m);
  assert.match(at('/root/net'), /^ProtectHome=no\nPrivateTmp=yes$/m);
  assert.match(at('/rooted'), /^ProtectHome=read-only$/m);
  assert.match(at('/tmp/net'), /^ProtectHome=read-only\nPrivateTmp=no$/m);
  assert.match(at('/srv/net', '/home/a/bin/node'), /^ProtectHome=no$/m);
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
