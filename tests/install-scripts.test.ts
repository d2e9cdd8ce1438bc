import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
