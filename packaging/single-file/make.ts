import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LOADER } from '../../src/self.js';
import { bundle, SQLITE_WASM } from '../bundle/bundle.js';
import { type Architecture, koffiPackage, nodePackage } from './node.js';

/** Marks the place in Node's executable that says whether it has an application, in node:sea's documentation. */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';

/**
 * Makes single executables: Node.js with all of lametun in it. https://nodejs.org/api/single-executable-applications.html
 *
 * @returns their paths, `out/lametun-linux-x64`
 */
export async function makeSingleFiles(architectures: readonly Architecture[]): Promise<readonly string[]> {
  const parts = 'out/single-file';
  rmSync(parts, { recursive: true, force: true });
  mkdirSync(parts, { recursive: true });
  const scripts = await bundle();
  for (const [name, script] of scripts) writeFileSync(join(parts, name), script);
  const assets = {
    ...Object.fromEntries([...scripts.keys()].map((name) => [name, join(parts, name)])),
    [SQLITE_WASM]: `node_modules/node-sqlite3-wasm/dist/${SQLITE_WASM}`,
    '../../package.json': 'package.json',
    'demo/recording/demo.json': 'dist/src/demo/recording/demo.json',
  };
  const paths: string[] = [];
  for (const architecture of architectures) {
    const koffi = join(koffiPackage(architecture), `linux_${architecture}/koffi.node`);
    const blob = makeBlob(parts, { ...assets, 'koffi.node': koffi });
    const path = singleFile(architecture);
    rmSync(path, { force: true });
    copyFileSync(join(nodePackage(architecture), 'bin/node'), path);
    inject(path, blob);
    chmodSync(path, 0o755);
    paths.push(path);
  }
  return paths;
}

/** Where the single executable for a processor is. */
export const singleFile = (architecture: string): string => `out/lametun-linux-${architecture}`;

/** Node must have the same version as the one in the executable. Its processor may be another one: no code is compiled. */
function makeBlob(parts: string, assets: Readonly<Record<string, string>>): string {
  const output = join(parts, 'blob');
  const config = join(parts, 'config.json');
  const main = join(parts, LOADER);
  writeFileSync(
    config,
    JSON.stringify({ main, output, assets, disableExperimentalSEAWarning: true, execArgvExtension: 'none' }),
  );
  const node = join(nodePackage(process.arch as Architecture), 'bin/node');
  execFileSync(node, ['--experimental-sea-config', config], { stdio: 'pipe' });
  return output;
}

function inject(executable: string, blob: string): void {
  const postject = 'node_modules/postject/dist/cli.js';
  const args = [postject, executable, 'NODE_SEA_BLOB', blob, '--sentinel-fuse', FUSE];
  execFileSync(process.execPath, args, { stdio: 'pipe' }); // it warns of what is usual
}
