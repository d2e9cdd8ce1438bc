import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../../../tests/kit/wait.js';
import { runProgram } from './program.js';

/** Runs a program for its cleanup until a file appears, and ignores Ctrl-C itself. */
const script = (begun: string, go: string): string => `
  const { runProgram } = await import(${JSON.stringify(new URL('./program.js', import.meta.url).href)});
  process.on('SIGINT', () => {});
  process.stdout.write(runProgram('sh', ['-c', 'touch "$0"; until [ -e "$1" ]; do sleep 0.05; done; echo done', ${JSON.stringify(begun)}, ${JSON.stringify(go)}]));`;

test('Ctrl-C does not end a cleanup program', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-program-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [begun, go] = [join(folder, 'begun'), join(folder, 'go')];
  const child = spawn(process.execPath, ['--input-type=module', '-e', script(begun, go)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true, // its own process group, as in a shell
  });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    said += chunk;
  });
  const ended = once(child, 'close');
  await until('the program to start', () => existsSync(begun));
  process.kill(-child.pid!, 'SIGINT');
  writeFileSync(go, '');
  assert.deepEqual([await ended, said], [[0, null], 'done\n']);
});

test('a program that a signal killed at its start is run again', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-program-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const dies = 'if [ -e "$0" ]; then cat; else touch "$0"; kill -$1 $$; fi';
  const run = (signal: string): string =>
    runProgram('sh', ['-c', dies, join(folder, signal), signal], { input: 'done' });
  for (const signal of ['INT', 'TERM', 'HUP']) assert.equal(run(signal), 'done');
  assert.throws(() => run('KILL'), /SIGKILL|EPIPE/);
  assert.throws(() => runProgram('sh', ['-c', 'kill -INT $$']), /SIGINT/);
});
