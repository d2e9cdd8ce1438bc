import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { LametunError } from '../../errors.js';
import { isShown } from '../../protocol/text.js';
import { install, installedUnit, removeUnit, unitFor } from './unit.js';

const place = { state: '/var/lib/lametun' };

test('the default state directory has the plain unit name, others have their own', () => {
  const name = (state: string): string => unitFor({ state }, ['/usr/bin/node']).name;
  assert.equal(name('/var/lib/lametun'), 'lametun.service');
  assert.equal(name('/var/lib/lametun-work'), 'lametun-work.service');
  assert.equal(name('/srv/vpn/a+b'), 'lametun-srv-vpn-a-b.service');
});

test('a program or state directory in a home or temporary folder is not hidden', () => {
  const at = (state: string, program = '/usr/bin/node'): string =>
    unitFor({ ...place, state }, [program]).text;
  assert.match(at('/var/lib/lametun'), /^ProtectHome=read-only\nPrivateTmp=yes$/m);
  assert.match(at('/root/net'), /^ProtectHome=no\nPrivateTmp=yes$/m);
  assert.match(at('/rooted'), /^ProtectHome=read-only$/m);
  assert.match(at('/tmp/net'), /^ProtectHome=read-only\nPrivateTmp=no$/m);
  assert.match(at('/srv/net', '/home/a/bin/node'), /^ProtectHome=no$/m);
  const CAPABILITIES = /^CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE(.*)$/m;
  assert.equal(CAPABILITIES.exec(at('/srv/net'))![1], '');
  assert.equal(CAPABILITIES.exec(at('/srv/net', '/home/a/bin/node'))![1], ' CAP_DAC_READ_SEARCH');
});

test('arguments reach the program unchanged', () => {
  const { text } = unitFor(place, ['/usr/bin/node', '/opt/a b/main.js', 'up', '--state', '/s/50%/$x"']);
  assert.match(text, /^ExecStart=\/usr\/bin\/node "\/opt\/a b\/main\.js" up --state "\/s\/50%%\/\$\$x\\""$/m);
});

/** Parses a command line like systemd: systemd.syntax(7) and systemd.service(5), "Command lines". */
function readBySystemd(line: string): string[] {
  const words: string[] = [];
  let at = 0;
  while (at < line.length) {
    while (line[at] === ' ') at++;
    let word = '';
    let quoted = false;
    for (; at < line.length && (quoted || line[at] !== ' '); at++) {
      if (line[at] === '"') quoted = !quoted;
      else if (line[at] === "'" && !quoted) throw new Error('unexpected quote');
      else if (line[at] === '\\') {
        const [escaped] = /^\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|["\\])/.exec(line.slice(at))!;
        word += /^\\[xu]/.test(escaped!)
          ? String.fromCharCode(Number.parseInt(escaped!.slice(2), 16))
          : escaped![1];
        at += escaped!.length - 1;
      } else word += line[at];
    }
    assert.equal(quoted, false);
    words.push(word.replaceAll('%%', '%').replaceAll('$$', '$'));
  }
  return words;
}

test('systemd reads all arguments unchanged', () => {
  const special = fc.constantFrom(
    ' ',
    '%',
    '$',
    '"',
    "'",
    '\\',
    ';',
    '\n',
    '\0',
    '\u202e',
    '\u061c',
    'a',
    'é',
    '{',
    '#',
  );
  const word = fc
    .array(fc.oneof(special, fc.string({ maxLength: 3 })), { maxLength: 8 })
    .map((parts) => parts.join(''));
  fc.assert(
    fc.property(fc.array(word, { maxLength: 4 }), word, (args, folder) => {
      const state = `/srv/${folder}`;
      const command = ['/usr/bin/node', ...args, '--state', state];
      const { text } = unitFor({ ...place, state }, command);
      const lines = text.split('\n').filter((line) => line.startsWith('Exec'));
      assert.equal(lines.length, 1);
      assert.ok(text.split('\n').every(isShown));
      assert.deepEqual(readBySystemd(lines[0]!.slice('ExecStart='.length)), command);
    }),
  );
});

test('a unit is complete and readable, or an error says why not', (t) => {
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

test('a unit belongs to its state directory, and another directory cannot replace it', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-unit-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const of = (state: string, ...more: string[]) =>
    unitFor({ state }, ['/usr/bin/node', 'main.js', 'up', '--state', state, ...more]);
  assert.equal(installedUnit('/srv/a b', folder), undefined);
  install(of('/srv/a b'), folder);
  install(of('/srv/a b', '--verbose'), folder);
  const found = installedUnit('/srv/a b', folder);
  assert.equal(found?.name, 'lametun-srv-a-b.service');
  assert.equal(installedUnit('/srv/a-b', folder), undefined);
  assert.throws(() => install(of('/srv/a-b'), folder), /it belongs to another state directory/);
  removeUnit(found!);
  assert.equal(installedUnit('/srv/a b', folder), undefined);
});
