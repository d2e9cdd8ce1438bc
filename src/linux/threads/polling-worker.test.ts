import assert from 'node:assert/strict';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../../../tests/kit/stores.js';
import { until } from '../../../tests/kit/wait.js';
import { PollingWorker, type PollingWorkerData, workersRespond } from './polling-worker.js';

const [STOP, COUNT, HANG] = [1, 2, 3];

/** Counts commands and wake-ups. HANG blocks it until the third word of its counts is set. */
const SCRIPT = `
  import { workerData } from 'node:worker_threads';
  const { Poller, Waker } = await import(new URL('poll.js', workerData.folder));
  const { SharedRing } = await import(new URL('shared-ring.js', workerData.folder));
  const { answerPulse } = await import(new URL('polling-worker.js', workerData.folder));
  const { wakeWorker, commands, ended } = workerData;
  const pulse = new Int32Array(workerData.pulse);
  const counts = new Int32Array(workerData.counts);
  const ring = new SharedRing(8, 64, commands);
  const poller = new Poller([wakeWorker]);
  const waker = new Waker(wakeWorker);
  for (let stopped = false; !stopped; ) {
    poller.wait(-1);
    waker.clear();
    answerPulse(pulse);
    counts[1]++;
    for (let at = ring.peek(); at >= 0; at = ring.peek()) {
      if (ring.view.getUint32(at, true) === ${STOP}) stopped = true;
      else counts[0]++;
      if (ring.view.getUint32(at, true) === ${HANG}) Atomics.wait(counts, 2, 0);
      ring.release();
    }
  }
  Atomics.store(new Int32Array(ended), 0, 1);
  workerData.port.close();`;

interface CountingData extends PollingWorkerData {
  readonly counts: SharedArrayBuffer;
  readonly folder: string;
}

function start() {
  const counts = new Int32Array(new SharedArrayBuffer(12));
  const worker = new PollingWorker<CountingData>({
    program: new URL(`data:text/javascript,${encodeURIComponent(SCRIPT)}`),
    data: { counts: counts.buffer, folder: import.meta.url },
    ...{ recordSize: 8, records: 64, stop: STOP, onWake() {} },
  });
  return { worker, counts };
}

test('all commands of one turn of the event loop wake the worker once', async () => {
  const { worker, counts } = start();
  for (let i = 0; i < 50; i++) worker.command(COUNT, 0);
  await new Promise((resolve) => setImmediate(resolve));
  await worker.close();
  assert.equal(counts[0], 50);
  assert.ok(counts[1]! <= 2, `woken ${counts[1]} times, including the end`);
});

test('a full ring wakes the worker, which empties it', async () => {
  const { worker, counts } = start();
  for (let i = 0; i < 1_000; i++) worker.command(COUNT, 0);
  await worker.close();
  assert.equal(counts[0], 1_000);
});

test('a command after the end reaches no file that has got a descriptor of the worker', async (t) => {
  const { worker } = start();
  await worker.close();
  const path = join(temporaryFolder(t), 'file');
  const files = Array.from({ length: 30 }, (_, i) => openSync(`${path}${i}`, 'w'));
  t.after(() => files.forEach(closeSync));
  worker.command(COUNT, 0);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(new Set(files.map((fd) => fstatSync(fd).size)), new Set([0]));
});

test('workers respond until one of them hangs, and again when it goes on', async () => {
  const [{ worker: good }, { worker: bad, counts }] = [start(), start()];
  const answers = () => until('an answer of all workers', () => workersRespond());
  for (let i = 0; i < 3; i++) await answers();
  bad.command(HANG, 0);
  await until('the worker to hang', () => counts[0] === 1);
  workersRespond(); // asks; the worker may have answered the question before
  for (let i = 0; i < 3; i++) {
    await until('an answer of the other', () => good.responds());
    assert.equal(workersRespond(), false);
  }
  Atomics.store(counts, 2, 1);
  Atomics.notify(counts, 2);
  await answers();
  await Promise.all([good.close(), bad.close()]);
  assert.equal(workersRespond(), true, 'no worker is left');
});
