/**
 * Runs the tests: `node dist/tests/run.js [--slow] [FILE...]`
 *
 * Without files it runs all quick tests, `*.test.js` under dist/, or with `--slow` all slow ones,
 * `*.slow.test.js`. As root it runs in its own network, mount and PID namespaces.
 */
import { setMaxListeners } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { MUST_RUN_VARIABLE } from './kit/requirements.js';
import { longestFirst } from './runner/order.js';
import { runInSandbox, SANDBOX_VARIABLE, sandboxEachChild, whyNoSandbox } from './runner/sandbox.js';
import { Summary, type TestEvent } from './runner/summary.js';

const dist = resolve(dirname(fileURLToPath(import.meta.url)), '..');

/** Tests that need a program no package provides. They run only if the variable names it. */
const LIVE = [{ file: 'tests/netns/go.test.js', variable: 'LAMETUN_GO', program: 'the original Go program' }];

/** Tests that also run against such a program if the variable names it. */
const MORE = [
  {
    folder: 'tests/interop/',
    variable: 'LAMETUN_WIREGUARD_GO',
    program: "a newer wireguard-go than the system's",
  },
];

/** More than one file runs on each processor, since tests mostly wait for other processes or timeouts. */
const FILES_PER_PROCESSOR = 2;
const MOST_FILES = 8;

/**
 * Time limits for a file and for the whole run, milliseconds. They only end what hangs. (Newer versions of Node apply
 * the first one to single tests, so that a file can still hang.)
 */
const LIMITS = { quick: { file: 600_000, run: 1_800_000 }, slow: { file: 1_800_000, run: 7_200_000 } };

async function main(args: readonly string[]): Promise<number> {
  const slow = args.includes('--slow');
  const named = args.filter((argument) => !argument.startsWith('--'));
  const unknown = args.find((argument) => argument.startsWith('--') && argument !== '--slow');
  if (unknown !== undefined) return usage(`unknown option ${unknown}`);

  const notes: string[] = [];
  const files = named.length > 0 ? named.map(compiled) : allTests(slow);
  const absent = files.find((file) => !existsSync(file));
  if (absent !== undefined) return usage(`no such test: ${relative('.', absent)}`);
  for (const { file, variable, program } of LIVE) {
    const index = files.indexOf(resolve(dist, file));
    if (index < 0 || process.env[variable] !== undefined) continue;
    files.splice(index, 1);
    notes.push(`Not part of this run: the live tests against ${program}. Name its binary in ${variable}.`);
  }
  for (const { folder, variable, program } of MORE) {
    if (process.env[variable] || !files.some((file) => file.startsWith(resolve(dist, folder)))) continue;
    notes.push(`Not part of this run: interop with ${program}. Name its binary in ${variable}.`);
  }

  if (process.env[SANDBOX_VARIABLE] === undefined) {
    const why = whyNoSandbox();
    if (why === undefined) return runInSandbox();
    notes.push(`Run without its own namespaces (${why}).`);
  }
  return runTests(files, slow ? LIMITS.slow : LIMITS.quick, notes);
}

async function runTests(
  files: string[],
  limits: { readonly file: number; readonly run: number },
  notes: readonly string[],
): Promise<number> {
  const summary = new Summary(files);
  if (files.length > 0) {
    if (process.env[SANDBOX_VARIABLE] === '1') sandboxEachChild();
    const override = Number(process.env['LAMETUN_TEST_LIMIT']);
    const stop = AbortSignal.timeout(override * 2 || limits.run);
    setMaxListeners(0, stop); // each file adds a listener
    const events = run({
      files,
      timeout: override || limits.file,
      signal: stop,
      concurrency: Math.min(FILES_PER_PROCESSOR * availableParallelism(), MOST_FILES),
    });
    const on = (name: string, listener: (event: TestEvent) => void) => events.on(name, listener);
    on('test:dequeue', (event) => summary.started(event));
    on('test:pass', (event) => summary.ended(event, 'pass'));
    on('test:fail', (event) => summary.ended(event, 'fail'));
    for await (const text of events.compose(new spec())) process.stdout.write(text);
  }
  const { lines, status } = summary.close(process.env[MUST_RUN_VARIABLE] === '1', notes);
  process.stdout.write(`${lines.join('\n')}\n`);
  return status;
}

function allTests(slow: boolean): string[] {
  const files = ['src', 'packaging', 'tests']
    .flatMap((folder) =>
      readdirSync(resolve(dist, folder), { recursive: true, encoding: 'utf8' }).map((file) =>
        resolve(dist, folder, file),
      ),
    )
    .filter((file) => file.endsWith('.test.js') && file.endsWith('.slow.test.js') === slow)
    .filter((file) => !file.startsWith(resolve(dist, 'tests/install/'))); // `npm run test:install` prepares these
  return longestFirst(files, dist);
}

/** The compiled file of a source file: `dist/src/x.test.js` for `src/x.test.ts`. */
function compiled(file: string): string {
  const path = relative(dirname(dist), resolve(file));
  return path.endsWith('.ts') ? resolve(dist, path.replace(/\.ts$/, '.js')) : resolve(file);
}

function usage(problem: string): number {
  process.stderr.write(`tests: ${problem} (usage: npm test -- [FILE...])\n`);
  return 2;
}

process.exitCode = await main(process.argv.slice(2));
