import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const CACHE = resolve('node_modules/.cache/nodes');

/**
 * Gets a version of Node.js from npm, once: npm checks what it downloads against the registry's checksum.
 *
 * @returns the program
 * @throws Error in one line
 */
export function fetchNode(version: string): string {
  const program = join(CACHE, version, 'bin', 'node');
  if (existsSync(program)) return program;
  const name = `node-linux-${process.arch}@${version}`;
  mkdirSync(CACHE, { recursive: true });
  const folder = mkdtempSync(join(CACHE, 'download-'));
  try {
    run('npm', ['pack', '--loglevel=error', name, '--pack-destination', folder], name);
    const [archive = ''] = readdirSync(folder);
    run(
      'tar',
      ['-xzf', join(folder, archive), '-C', folder, '--strip-components=1', 'package/bin/node'],
      name,
    );
    rmSync(join(folder, archive));
    renameSync(folder, join(CACHE, version));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return program;
}

function run(program: string, args: readonly string[], name: string): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status === 0) return;
  const why = error?.message ?? stderr.trim().split('\n')[0];
  throw new Error(`cannot get ${name} from npm (${program}: ${why || `status ${status}`})`);
}
