import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

/** A package in package-lock.json. */
interface Locked {
  readonly hasInstallScript?: boolean;
  /** Only for development. */
  readonly dev?: boolean;
}

test('no package that users install has an install script, and npm runs no other', () => {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, Locked>;
  };
  assert.ok(Object.keys(packages).length > 20, 'the lock file lists the packages');
  const scripted = Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript);
  assert.deepEqual(
    scripted.map(([name, { dev }]) => [name, dev]),
    [['node_modules/koffi', true]], // for its types
  );
  const { allowScripts, scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    allowScripts: Record<string, boolean>;
    scripts: Record<string, string>;
  };
  assert.deepEqual(allowScripts, { koffi: false });
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) assert.ok(!(name in scripts), name);
  assert.match(readFileSync('scripts/setup.sh', 'utf8'), /npm ci --ignore-scripts /);
});

test('calls of C work without the package koffi, whose install script npm would warn of', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-koffi-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const needed = ['dist/src/linux/ffi/koffi.js', 'dist/src/self.js', 'node_modules/@koromix'];
  for (const path of needed) cpSync(path, join(folder, path), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const script = `
    import koffi from './dist/src/linux/ffi/koffi.js';
    console.log(koffi.load(null).func('int getpid()')() === process.pid);`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.equal(stdout, 'true\n', stderr);
});

test('the set-up refuses a Node.js that is too old, such as that of Debian 12', (t) => {
  const { engines } = JSON.parse(readFileSync('package.json', 'utf8')) as { engines: { node: string } };
  assert.equal(engines.node, '>=20.19');
  const folder = mkdtempSync(join(tmpdir(), 'lametun-node-'));
  t.after(() => rmSync(folder, { recursive: true }));
  symlinkSync('/usr/bin/dirname', join(folder, 'dirname'));
  // A node that claims another version. Without npm, the set-up ends behind its check of node.
  const setUp = (version: string) => {
    const claim = `Object.defineProperty(process.versions, 'node', { value: '${version}' });`;
    writeFileSync(join(folder, 'claim.cjs'), claim);
    writeFileSync(
      join(folder, 'node'),
      `#!/bin/sh\nif [ "$1" = --version ]; then echo v${version}; exit; fi\nexec '${process.execPath}' -r '${folder}/claim.cjs' "$@"\n`,
    );
    chmodSync(join(folder, 'node'), 0o755);
    const { status, stderr } = spawnSync('/bin/sh', ['scripts/setup.sh'], {
      encoding: 'utf8',
      env: { PATH: folder },
    });
    return { status, stderr };
  };
  for (const version of ['18.20.4', '20.18.3']) {
    const { status, stderr } = setUp(version);
    assert.match(
      stderr,
      new RegExp(`^setup: needs Node\\.js 20\\.19 or newer \\(.*\\), and this is v${version}\n$`),
    );
    assert.equal(status, 1);
  }
  for (const version of ['20.19.2', '22.0.0']) assert.match(setUp(version).stderr, /^setup: needs npm/);
});
