import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** What lametun starts or links to: `nft` for shares, `sh` to guard resolv.conf, and the libraries of Node.js. */
const PACKAGES = ['nftables', 'dash', 'libstdc++6'];

/** Documents and translations. Licences stay. */
const LEFT_OUT = ['usr/share/man', 'usr/share/locale', 'usr/share/lintian', 'usr/share/menu'];

/** Where this machine's Debian comes from: the newer format's file first. */
const SOURCES = ['/etc/apt/sources.list.d/debian.sources', '/etc/apt/sources.list'];

/**
 * Unpacks what lametun needs of Debian, for any processor. apt verifies the packages' signatures; it uses an apt of its own,
 * with this machine's sources and keys, and no package runs a script.
 *
 * @param architecture Debian's name for it
 * @returns the names and versions of the packages, sorted
 * @throws Error if apt cannot get them
 */
export function unpackDebian(root: string, architecture: string): readonly string[] {
  const sources = SOURCES.find((file) => existsSync(file));
  if (sources === undefined) throw new Error(`cannot find Debian's sources: neither of ${SOURCES} exists`);
  const apt = resolve(`out/image/apt-${architecture}`);
  rmSync(apt, { recursive: true, force: true });
  for (const folder of ['state/lists/partial', 'cache/archives/partial'])
    mkdirSync(join(apt, folder), { recursive: true });
  writeFileSync(join(apt, 'status'), ''); // nothing is installed, so all dependencies are needed
  const settings = [
    `APT::Architecture=${architecture}`,
    `APT::Architectures=${architecture}`,
    'APT::Sandbox::User=root', // others cannot read a private folder
    `Dir::State=${apt}/state`,
    `Dir::State::status=${apt}/status`,
    `Dir::Cache=${apt}/cache`,
    `Dir::Etc::sourcelist=${sources}`,
    'Dir::Etc::sourceparts=/dev/null',
  ].flatMap((setting) => ['-o', setting]);
  const run = (...args: string[]): Buffer =>
    execFileSync('apt-get', [...settings, ...args], { stdio: 'pipe' });
  run('--error-on=any', 'update');
  run('--yes', '--no-install-recommends', '--download-only', 'install', ...PACKAGES);

  const archives = join(apt, 'cache/archives');
  const debs = readdirSync(archives).filter((name) => name.endsWith('.deb'));
  const names = debs.sort().map((name) => {
    execFileSync('dpkg-deb', ['--extract', join(archives, name), root]);
    const field = (which: string): string =>
      execFileSync('dpkg-deb', ['--field', join(archives, name), which], { encoding: 'utf8' }).trim();
    return `${field('Package')} ${field('Version')}`;
  });
  for (const folder of LEFT_OUT) rmSync(join(root, folder), { recursive: true, force: true });
  const documents = join(root, 'usr/share/doc');
  for (const name of readdirSync(documents, { recursive: true, withFileTypes: true }))
    if (name.isFile() && name.name !== 'copyright') rmSync(join(name.parentPath, name.name));
  rmSync(apt, { recursive: true });
  return names;
}
