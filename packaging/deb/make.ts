import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { packagedUnits } from '../../src/cli/units/unit-text.js';
import { type Architecture, koffiPackage } from '../single-file/node.js';
import { packageJsonVersion } from '../version.js';
import { debianChangelog, debianVersion, type Release, thisRelease } from './changelog.js';
import { controlFile, DEBIAN_ARCHITECTURE } from './control.js';
import { copyrightFile } from './copyright.js';

const FILES = 'packaging/deb/files';

/** Where the shells look, by Debian's policy for each. */
const COMPLETIONS = {
  'usr/share/bash-completion/completions/lametun': 'dist/completion/lametun.bash',
  'usr/share/bash-completion/completions/lametund': 'dist/completion/lametun.bash',
  'usr/share/zsh/vendor-completions/_lametun': 'dist/completion/_lametun',
  'usr/share/fish/vendor_completions.d/lametun.fish': 'dist/completion/lametun.fish',
  'usr/share/fish/vendor_completions.d/lametund.fish': 'dist/completion/lametun.fish',
};

/**
 * Makes Debian packages of the single executables in `out/`. Two runs on one commit give the same bytes.
 *
 * @param version as in package.json, or another one in tests
 * @returns their paths, `out/lametun_1.0.0_amd64.deb`
 */
export function makeDebs(
  architectures: readonly Architecture[],
  version = packageJsonVersion(),
): readonly string[] {
  const release = thisRelease(version);
  return architectures.map((architecture) => {
    const name = `lametun_${debianVersion(version)}_${DEBIAN_ARCHITECTURE[architecture]}`;
    const root = `out/deb/${name}`;
    rmSync(root, { recursive: true, force: true });
    fill(root, architecture, release);
    const path = `out/${name}.deb`;
    // dpkg-deb sorts the files, and gives none a later date than this.
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(release.date) };
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', root, path], { env, stdio: 'pipe' });
    rmSync(root, { recursive: true });
    return path;
  });
}

function fill(root: string, architecture: Architecture, release: Release): void {
  const put = (path: string, content: string | Uint8Array, mode = 0o644): void => {
    const file = join(root, path);
    makeFolders(dirname(file));
    writeFileSync(file, content);
    chmodSync(file, mode);
  };
  const copy = (path: string, from: string, mode = 0o644): void => put(path, readFileSync(from), mode);
  const own = (name: string): string => readFileSync(join(FILES, name), 'utf8');

  copy('usr/bin/lametun', `out/lametun-linux-${architecture}`, 0o755);
  symlinkSync('lametun', join(root, 'usr/bin/lametund'));
  copy('usr/lib/lametun/koffi.node', join(koffiPackage(architecture), `linux_${architecture}/koffi.node`));
  for (const name of readdirSync('dist/man')) {
    put(`usr/share/man/man${name.at(-1)}/${name}.gz`, zip(readFileSync(join('dist/man', name))));
  }
  for (const [path, from] of Object.entries(COMPLETIONS)) copy(path, from);
  for (const unit of packagedUnits({ lametun: '/usr/bin/lametun', lametund: '/usr/bin/lametund' }))
    put(`usr/lib/systemd/system/${unit.name}`, unit.text);
  put('etc/default/lametun', own('default'));
  put('usr/share/doc/lametun/copyright', copyrightFile(architecture));
  put(
    'usr/share/doc/lametun/changelog.gz',
    zip(debianChangelog(readFileSync('CHANGELOG.md', 'utf8'), release)),
  );
  put('usr/share/lintian/overrides/lametun', own('lintian-overrides'));
  const installed = listFiles(root);
  const size = installed.reduce((sum, file) => sum + sizeOf(file), 0);
  const sums = installed
    .filter((file) => lstatSync(file).isFile() && !file.startsWith(`${root}/etc/`)) // dpkg keeps those of conffiles
    .map(
      (file) => `${createHash('md5').update(readFileSync(file)).digest('hex')}  ${relative(root, file)}\n`,
    );
  put('DEBIAN/md5sums', sums.join(''));
  for (const name of ['postinst', 'prerm', 'postrm']) put(`DEBIAN/${name}`, own(name), 0o755);
  put('DEBIAN/templates', own('templates'));
  put('DEBIAN/conffiles', '/etc/default/lametun\n');
  put('DEBIAN/control', controlFile(release, architecture, size));
}

/** With the usual mode, whatever the umask is. */
function makeFolders(folder: string): void {
  if (existsSync(folder)) return;
  makeFolders(dirname(folder));
  mkdirSync(folder);
  chmodSync(folder, 0o755);
}

/** The program, since zlib's output may differ from one Node.js to another. Without name and time. */
const zip = (input: string | Uint8Array): Uint8Array => execFileSync('gzip', ['-9n'], { input });

const listFiles = (root: string): readonly string[] =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((name) => join(root, name))
    .sort();

/** KiB, rounded up. A folder or a link counts as one: Debian's policy, 5.6.20. */
function sizeOf(file: string): number {
  const entry = lstatSync(file);
  return entry.isFile() ? Math.ceil(entry.size / 1024) : 1;
}
