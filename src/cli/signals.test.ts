import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';

/** A program that takes `cleaning` milliseconds to clean up after a signal. */
const SCRIPT = (sameWish: number, cleaning: number): string => `
  const { abortOnSignals } = await import(${JSON.stringify(new URL('./signals.js', import.meta.url).href)});
  const stop = new AbortController();
  abortOnSignals(stop, ${sameWish});
  stop.signal.addEventListener('abort', () => {
    console.log('cleaning up');
    setTimeout(() => process.exit(0), ${cleaning});
  });
  setInterval(() => {}, 1000);
  console.log('ready');`;

async function program(t: TestContext, sameWish: number, cleaning = 1000): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', SCRIPT(sameWish, cleaning)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  return child;
}

/** Sends two signals, the second once the program handles the first. @returns the exit status and signal */
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
