import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';
import { asset, isSingleFile } from '../../self.js';

/** Calls of C functions. The package `koffi` gives the types; its code is in the binary, from a package for each processor. */
type Koffi = typeof import('koffi').default;

/** Under this name, a worker of a single executable finds the file that the main thread loaded. */
const LOADED = 'lametun:koffi';

function fromPackage(): Koffi {
  const name = `@koromix/koffi-linux-${process.arch}`;
  try {
    return createRequire(import.meta.url)(name) as Koffi;
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`cannot load the package ${name}: install lametun again on this machine (${message})`);
  }
}

/** Packages install the binary beside the executable. Elsewhere it comes out of the executable. */
function fromSingleFile(): Koffi {
  const loaded = getEnvironmentData(LOADED) as string | undefined;
  if (loaded !== undefined) return load(loaded);
  const failures: string[] = [];
  for (const place of [
    () => join(dirname(process.execPath), '../lib/lametun/koffi.node'),
    ...privatePlaces().map(extractTo),
  ]) {
    try {
      const file = place();
      const result = load(file);
      setEnvironmentData(LOADED, file);
      return result;
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  throw new Error(`cannot load koffi.node, which lametun needs for system calls: ${failures.at(-1)}`);
}

/** Parents for a private directory. Some may be read-only, or mounted with `noexec`. */
const privatePlaces = (): string[] =>
  [
    process.env['STATE_DIRECTORY']?.split(':')[0],
    process.env['XDG_RUNTIME_DIR'],
    tmpdir(),
    '/var/tmp',
    '/var/lib',
    homedir(),
  ].filter((place) => place !== undefined);

/**
 * Writes the binary to a private directory, and removes it at once: the open descriptor keeps it for this process and
 * its workers.
 */
function extractTo(parent: string): () => string {
  return () => {
    const directory = mkdtempSync(join(parent, 'lametun-'));
    try {
      const file = join(directory, 'koffi.node');
      writeFileSync(file, asset('koffi.node'), { mode: 0o500 });
      return `/proc/self/fd/${openSync(file, 'r')}`;
    } finally {
      rmSync(directory, { recursive: true });
    }
  };
}

function load(file: string): Koffi {
  const module = { exports: {} };
  process.dlopen(module, file);
  return module.exports as Koffi;
}

const koffi: Koffi = isSingleFile ? fromSingleFile() : fromPackage();
export default koffi;
