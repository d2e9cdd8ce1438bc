import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { syncDirectory } from './safe-files.js';

/**
 * Makes a directory, mode 0700, for files that are no longer used: `removed-2026-11-30`, with a number appended if that
 * exists. Existing directories are not touched.
 *
 * @returns its path
 */
export function makeAside(parent: string, why: string): string {
  const first = join(parent, `${why}-${new Date().toISOString().slice(0, 10)}`);
  for (let path = first, i = 2; ; path = `${first}-${i++}`) {
    try {
      mkdirSync(path, { mode: 0o700 });
      syncDirectory(parent);
      return path;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}
