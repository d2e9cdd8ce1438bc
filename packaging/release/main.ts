import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { debianVersion, thisRelease } from '../deb/changelog.js';
import { nodePackage } from '../single-file/node.js';
import { packageJsonVersion } from '../version.js';
import { problems } from './checks.js';
import { completeBill, debianComponents, nodeComponents } from './sbom.js';

/**
 * `npm run release`: collects what a release consists of in `out/release`, from what `npm run package` and
 * `npm run package:image` made. Publishes nothing, and prints what to do next.
 */
const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 2 ** 26 });

const version = packageJsonVersion();
const executables = ['x64', 'arm64'].map((name) => `out/lametun-linux-${name}`);
const debs = ['amd64', 'arm64'].map((name) => `out/lametun_${debianVersion(version)}_${name}.deb`);
const image = `out/lametun-${version}.oci.tar`;
const found = problems({
  version,
  changelog: readFileSync('CHANGELOG.md', 'utf8'),
  changes: run('git', 'status', '--porcelain'),
  tags: run('git', 'tag').split('\n'),
  missing: [...executables, ...debs, image].filter((file) => !existsSync(file)),
});
for (const problem of found) process.stderr.write(`release: ${problem}\n`);
if (found.length > 0) process.exit(1);

const folder = 'out/release';
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
run('npm', 'pack', '--silent', '--ignore-scripts', '--pack-destination', folder);
for (const file of [...debs, image]) copyFileSync(file, join(folder, basename(file)));
for (const file of executables) {
  const packed = execFileSync('xz', ['-2', '-T1', '-c', file], { maxBuffer: 2 ** 28 });
  writeFileSync(join(folder, `${basename(file)}.xz`), packed);
}
const node = join(nodePackage(process.arch as 'x64' | 'arm64'), 'bin/node');
const versions = JSON.parse(run(node, '-p', 'JSON.stringify(process.versions)')) as Record<string, string>;
const { Labels: labels } = JSON.parse(run('skopeo', 'inspect', `oci-archive:${image}`)) as {
  readonly Labels: Readonly<Record<string, string>>;
};
const more = [...nodeComponents(versions), ...debianComponents(labels['lametun.debian-packages'] ?? '')];
const npmBill = run('npm', 'sbom', '--sbom-format', 'cyclonedx', '--omit', 'dev', '--package-lock-only');
writeFileSync(join(folder, 'sbom.cdx.json'), completeBill(npmBill, more, thisRelease(version).date));
const sums = readdirSync(folder)
  .sort()
  .map((name) => {
    const sum = createHash('sha256')
      .update(readFileSync(join(folder, name)))
      .digest('hex');
    return `${sum}  ${name}\n`;
  });
writeFileSync(join(folder, 'SHA256SUMS'), sums.join(''));
console.log(`${folder} has the release. Next:
  gpg --armor --detach-sign ${folder}/SHA256SUMS
  git tag -s v${version} && git push origin v${version}
  npm publish ${folder}/lametun-${version}.tgz
  npm run package:apt -- --sign KEY, and upload out/apt and ${folder}`);
