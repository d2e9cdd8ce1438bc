import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

/** A package in package-lock.json. */
interface Locked {
  readonly hasInstallScript?: boolean;
}

test('only koffi has an install script, and npm does not run it', () => {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, Locked>;
  };
  assert.ok(Object.keys(packages).length > 20, 'the lock file lists the packages');
  const scripted = Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript);
  assert.deepEqual(
    scripted.map(([name]) => name),
    ['node_modules/koffi'],
  );
  const { allowScripts, scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    allowScripts: Record<string, boolean>;
    scripts: Record<string, string>;
  };
  assert.deepEqual(allowScripts, { koffi: false });
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) assert.ok(!(name in scripts), name);
  assert.match(readFileSync('scripts/setup.sh', 'utf8'), /npm ci --ignore-scripts /);
});

test('koffi works as downloaded from the registry, without the output of its install script', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-koffi-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const made = join('node_modules', 'koffi', 'build');
  for (const name of ['koffi', '@koromix'])
    cpSync(join('node_modules', name), join(folder, 'node_modules', name), {
      recursive: true,
      filter: (path) => !path.startsWith(made),
    });
  const script = `
    import koffi from 'koffi';
    import { readFileSync } from 'node:fs';
    const getpid = koffi.load(null).func('int getpid()');
    const libraries = readFileSync('/proc/self/maps', 'utf8').match(/\\S+\\.node$/gm) ?? [];
    console.log(JSON.stringify({ right: getpid() === process.pid, libraries: [...new Set(libraries)] }));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.notEqual(stdout, '', stderr);
  const { right, libraries } = JSON.parse(stdout) as { right: boolean; libraries: string[] };
  assert.ok(right, 'getpid() returned another process id');
  assert.equal(libraries.length, 1, `${libraries}`);
  assert.ok(libraries[0]!.includes('/node_modules/@koromix/koffi-linux-'), libraries[0]);
});
