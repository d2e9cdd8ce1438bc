import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';

/** Debian's names of processors. */
const ARCHITECTURES = ['amd64', 'arm64'] as const;
const POOL = 'pool/main/l/lametun';

/** Where the public key is, for `signed-by=` in sources.list(5). */
const PUBLIC_KEY = 'lametun.asc';

export interface AptRelease {
  /** Files to add to the packages that the repository already has. */
  readonly debs: readonly string[];
  /** A key that gpg(1) has, as `--local-user` takes it: a fingerprint or an address. */
  readonly key: string;
  /** Seconds since 1970. apt takes no index that is older than the one it has. */
  readonly date: number;
}

/**
 * Makes a signed apt repository, or adds packages to one: https://wiki.debian.org/DebianRepository/Format.
 * Any web server can serve the folder.
 *
 * @throws Error if gpg cannot sign with the key
 */
export function makeAptRepository(folder: string, { debs, key, date }: AptRelease): void {
  mkdirSync(join(folder, POOL), { recursive: true });
  for (const deb of debs) copyFileSync(deb, join(folder, POOL, basename(deb)));

  const suite = join(folder, 'dists/next');
  rmSync(suite, { recursive: true, force: true });
  const indices = new Map<string, Uint8Array>();
  for (const architecture of ARCHITECTURES) {
    const packages = Buffer.from(packagesFile(folder, architecture));
    const place = `main/binary-${architecture}`;
    mkdirSync(join(suite, place), { recursive: true });
    indices.set(`${place}/Packages`, packages);
    indices.set(`${place}/Packages.gz`, execFileSync('gzip', ['-9n'], { input: packages }));
  }
  for (const [name, content] of indices) writeFileSync(join(suite, name), content);
  const release = join(suite, 'Release');
  writeFileSync(release, releaseFile(indices, date));
  const gpg = (...args: readonly string[]): Uint8Array =>
    execFileSync('gpg', ['--batch', '--local-user', key, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  gpg('--output', join(suite, 'InRelease'), '--clearsign', release);
  gpg('--output', join(suite, 'Release.gpg'), '--armor', '--detach-sign', release);
  writeFileSync(join(folder, PUBLIC_KEY), gpg('--armor', '--export', key));
  const published = join(folder, 'dists/stable'); // unchanged if gpg could not sign
  rmSync(published, { recursive: true, force: true });
  renameSync(suite, published);
}

/** A paragraph for each package: its control file, its place, size and sum. */
function packagesFile(folder: string, architecture: string): string {
  const files = readdirSync(join(folder, POOL)).filter((name) => name.endsWith(`_${architecture}.deb`));
  const paragraphs = files.sort().map((name) => {
    const file = `${POOL}/${name}`;
    const control = execFileSync('dpkg-deb', ['--field', join(folder, file)], { encoding: 'utf8' });
    const content = readFileSync(join(folder, file));
    return `${control}Filename: ${file}\nSize: ${content.length}\nSHA256: ${sha256(content)}\n`;
  });
  return paragraphs.join('\n');
}

/** Names every index with its sum and size, so that one signature covers all. */
export function releaseFile(indices: ReadonlyMap<string, Uint8Array>, date: number): string {
  const sums = [...indices].map(([name, content]) => ` ${sha256(content)} ${content.length} ${name}\n`);
  return `Origin: lametun
Label: lametun
Suite: stable
Codename: stable
Date: ${new Date(date * 1000).toUTCString().replace('GMT', 'UTC')}
Architectures: ${ARCHITECTURES.join(' ')}
Components: main
Description: lametun for Debian and Ubuntu
SHA256:
${sums.join('')}`;
}

const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');
