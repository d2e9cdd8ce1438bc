import { readFileSync } from 'node:fs';
import { getRawAsset, isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';
import { Worker, type WorkerOptions } from 'node:worker_threads';

/** The programs of this package that run in a process of their own, by their place under src/. */
const PROCESSES = ['cli/main', 'cli/lametund', 'demo/inside', 'demo/actors', 'demo/transports'] as const;
/** Those that run in a worker. */
const WORKERS = ['tunnel/worker', 'hub/relay/worker', 'plain/worker'] as const;
export type Program = (typeof PROCESSES)[number];
export type WorkerProgram = (typeof WORKERS)[number];
export const PROGRAMS: readonly string[] = [...PROCESSES, ...WORKERS];

/**
 * Whether all of lametun is in one executable, https://nodejs.org/api/single-executable-applications.html. Then there are
 * no files beside this one: programs are in the executable, workers and data are its assets.
 */
export const isSingleFile = isSea();

/** The script that a single executable and its workers start with. */
export const LOADER = 'loader.js';

/** The first argument that selects a program of a single executable. Without it, the executable's name does. */
export const PROGRAM_ARGUMENT = '--program=';

/** The arguments with which this process was started: those of Node.js or of the loader, then those of the program. */
export const STARTED_WITH: readonly string[] = [
  ...process.execArgv,
  ...process.argv.slice(isSingleFile ? 2 : 1), // the second repeats the first there
];

/** The command that runs a program of this package in another process: a path, and the first arguments. */
export function commandFor(program: Program): [path: string, ...args: string[]] {
  if (isSingleFile) return [process.execPath, `${PROGRAM_ARGUMENT}${program}`];
  return [process.execPath, ...process.execArgv, fileURLToPath(script(program))];
}

/** @param program or a file, in tests */
export function startWorker(program: WorkerProgram | URL, options: WorkerOptions): Worker {
  if (program instanceof URL) return new Worker(program, options);
  if (!isSingleFile) return new Worker(script(program), options);
  const loader = Buffer.from(asset(LOADER)).toString();
  return new Worker(loader, { ...options, eval: true, argv: [`${PROGRAM_ARGUMENT}${program}`] });
}

/** A file that belongs to the program, by its place under src/. */
export const asset = (name: string): Uint8Array =>
  isSingleFile
    ? new Uint8Array(getRawAsset(name) as ArrayBuffer)
    : readFileSync(new URL(name, import.meta.url));

const script = (name: string): URL => new URL(`./${name}.js`, import.meta.url);
