import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';

/** A program that needs some time after a signal until it has tidied up, milliseconds. */
const SCRIPT = (sameWish: number, tidying: number): string => `
  const { abortOnSignals } = await import(${JSON.stringify(new URL('./signals.js', import.meta.url).href)});
  const stop = new AbortController();
  abortOnSignals(stop, ${sameWish});
  stop.signal.addEventListener('abort', () => {
    console.log('tidying up');
    setTimeout(() => process.exit(0), ${tidying});
  });
  setInterval(() => {}, 1000);
  console.log('ready');`;

async function program(t: TestContext, sameWish: number, tidying = 1000): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', SCRIPT(sameWish, tidying)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  return child;
}

/** Sends two signals, the second when the first was heard. @returns status and signal at the end */
async function endedBy(child: ChildProcess, signals: readonly NodeJS.Signals[]): Promise<unknown[]> {
  const ended = once(child, 'exit');
  child.kill(signals[0]);
  await once(child.stdout!, 'data');
  child.kill(signals[1]);
  return ended;
}

test('a signal that is sent twice lets the program clean up', async (t) => {
  assert.deepEqual(await endedBy(await program(t, 60_000), ['SIGHUP', 'SIGHUP']), [0, null]);
});

test('a later signal ends the program at once', async (t) => {
  assert.deepEqual(await endedBy(await program(t, 0, 60_000), ['SIGTERM', 'SIGINT']), [null, 'SIGINT']);
});
