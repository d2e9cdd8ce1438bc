import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { makeDebs } from '../../packaging/deb/make.js';
import { needs } from '../kit/requirements.js';
import { debOf } from './debian.js';
import { OLDER } from './versions.js';

test('two builds of the Debian package give the same bytes', (t) => {
  if (!needs(t, 'dpkg-deb')) return;
  const build = (): Buffer => {
    const [path] = makeDebs(['x64'], '0.0.0'); // no other test has this version
    const content = readFileSync(path!);
    rmSync(path!);
    return content;
  };
  const [first, second] = [build(), build()];
  assert.ok(first.equals(second));
});

test('lintian objects to nothing in the Debian package but what is overridden', (t) => {
  if (!needs(t, 'lintian')) return;
  const { stdout } = spawnSync('lintian', ['--allow-root', '--show-overrides', debOf(OLDER)], {
    encoding: 'utf8',
  });
  assert.match(stdout, /^O: lametun: unstripped-binary-or-object/m, 'lintian looks at the executable');
  const lines = stdout.trim().split('\n');
  assert.deepEqual(
    lines.filter((line) => !/^[ON]: /.test(line)),
    [],
  );
});

test('the package depends on the versions of the C and C++ libraries that its programs use', (t) => {
  if (!needs(t, 'dpkg-deb', 'objdump')) return;
  const depends = execFileSync('dpkg-deb', ['--field', debOf(OLDER), 'Depends'], { encoding: 'utf8' });
  const symbols = execFileSync('objdump', ['-T', 'out/lametun-linux-x64'], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  const highest = (prefix: string): string =>
    [...symbols.matchAll(new RegExp(`\\b${prefix}_([\\d.]+)`, 'g'))]
      .map((match) => match[1]!)
      .reduce((one, other) => (one.localeCompare(other, 'en', { numeric: true }) > 0 ? one : other));
  assert.match(depends, new RegExp(`libc6 \\(>= ${highest('GLIBC')}\\)`));
  assert.equal(highest('CXXABI'), '1.3.11', 'libstdc++ of GCC 7');
  assert.match(depends, /libstdc\+\+6 \(>= 7\)/);
});
