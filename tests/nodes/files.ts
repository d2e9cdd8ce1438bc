import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Beside those in src/. */
const MORE = ['structs', 'vectors', 'wycheproof', 'noise-ik'] as const;

/** A test with one of these needs root or a database: it waits for other programs more than for Node.js. */
const NEEDS_A_MACHINE = /kit\/(requirements|stores|network-lab|lab)\.js'/;

/** The quick tests that need neither root nor other programs, as files of src/ and tests/. */
export function unitTests(): string[] {
  const besideCode = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts') && !file.endsWith('.slow.test.ts'))
    .map((file) => join('src', file))
    .filter((file) => !NEEDS_A_MACHINE.test(readFileSync(file, 'utf8')));
  return [...besideCode, ...MORE.map((name) => `tests/${name}.test.ts`)];
}

/** Tests in namespaces, for the oldest and the newest Node.js: what Node.js itself does not do for lametun. */
export const IN_NAMESPACES: readonly string[] = [
  'tests/network/join.test.ts', // processes, sockets, workers, SQLite, names
  'tests/netns/uapi.test.ts', // lametund
  'tests/netns/tun.test.ts', // calls of C
  'tests/netns/offload.test.ts',
];
