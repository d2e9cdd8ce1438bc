import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isShown } from '../../protocol/text.js';
import { networkUnit, packagedName, packagedUnits, unitName } from './unit-text.js';

const unitFor = (state: string, command: readonly string[], files: readonly string[] = []): string =>
  networkUnit({ state, command, files }).text;

test('the default state directory has the plain unit name, others have their own', () => {
  assert.equal(unitName('/var/lib/lametun'), 'lametun.service');
  assert.equal(unitName('/var/lib/lametun-work'), 'lametun@work.service');
  assert.equal(unitName('/srv/vpn/a+b'), 'lametun-srv-vpn-a-b.service');
});

test('a package has the same unit for a state directory as --install', () => {
  const names = packagedUnits({ lametun: '/usr/bin/lametun', lametund: '/usr/bin/lametund' }).map(
    ({ name }) => name,
  );
  assert.deepEqual(names, ['lametun.service', 'lametun@.service', 'lametund@.service']);
  for (const state of ['/var/lib/lametun', '/var/lib/lametun-work', '/var/lib/lametun-a b', '/srv/a']) {
    const packaged = packagedName(state);
    assert.ok(packaged === undefined || names.includes(packaged), state);
    if (packaged !== undefined)
      assert.equal(packaged, unitName(state).replace(/@.*\.service/, '@.service'), state);
  }
  assert.equal(packagedName('/srv/a'), undefined);
});

test('the template gets its state directory from the name of the instance', () => {
  const [, template] = packagedUnits({ lametun: '/usr/bin/lametun', lametund: '/usr/bin/lametund' });
  assert.match(
    template!.text,
    /^ExecStart=\/usr\/bin\/lametun up --state \/var\/lib\/lametun-%i \$LAMETUN_OPTIONS$/m,
  );
  assert.match(template!.text, /^StateDirectory=lametun-%i$/m);
  assert.match(template!.text, /^EnvironmentFile=-\/etc\/default\/lametun$/m);
});

test('systemd makes a state directory in /var/lib; another one, and files outside, are writable', () => {
  assert.match(unitFor('/var/lib/lametun', ['/usr/bin/node']), /^StateDirectory=lametun$/m);
  const text = unitFor('/srv/a b%', ['/usr/bin/node'], ['/srv/db/hub.sqlite']);
  assert.doesNotMatch(text, /^StateDirectory=/m);
  assert.match(text, /^ReadWritePaths=.* "\/srv\/a b%%" \/srv\/db$/m);
  assert.match(text, /^RequiresMountsFor="\/srv\/a b%%" \/srv\/db$/m);
});

test('a program or state directory in a home or temporary folder is not hidden', () => {
  const at = (state: string, program = '/usr/bin/node'): string => unitFor(state, [program]);
  assert.match(at('/var/lib/lametun'), /^ProtectHome=yes\nPrivateTmp=yes$/m);
  assert.match(at('/root/net'), /^ProtectHome=no\nPrivateTmp=yes$/m);
  assert.match(at('/rooted'), /^ProtectHome=yes$/m);
  assert.match(at('/tmp/net'), /^ProtectHome=yes\nPrivateTmp=no$/m);
  assert.match(at('/srv/net', '/home/a/bin/node'), /^ProtectHome=no$/m);
  const CAPABILITIES = /^CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE(.*)$/m;
  assert.equal(CAPABILITIES.exec(at('/srv/net'))![1], '');
  assert.equal(CAPABILITIES.exec(at('/srv/net', '/home/a/bin/node'))![1], ' CAP_DAC_READ_SEARCH');
});

test('arguments reach the program unchanged', () => {
  const text = unitFor('/var/lib/lametun', [
    '/usr/bin/node',
    '/opt/a b/main.js',
    'up',
    '--state',
    '/s/50%/$x"',
  ]);
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
      const text = unitFor(state, command);
      const lines = text.split('\n').filter((line) => line.startsWith('Exec'));
      assert.equal(lines.length, 1);
      assert.ok(text.split('\n').every(isShown));
      assert.deepEqual(readBySystemd(lines[0]!.slice('ExecStart='.length)), command);
    }),
  );
});
