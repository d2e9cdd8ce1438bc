import { workerData } from 'node:worker_threads';
import { allocate, mapShared } from '../../src/linux/ffi/memory.js';
import { bootTime } from '../../src/linux/process/clock.js';
import { SendBatch } from '../../src/packets/send-batch.js';
import { FLOOD_WORD, type FloodData } from './relay-flood.js';

/** Runs per system call. */
const BATCH = 32;

const { fd, endpoint, frame, perRun, perMillisecond = Infinity, words } = workerData as FloodData;
const shared = new Float64Array(words);
const to = mapShared(endpoint);
const room = allocate(perRun * frame.length);
for (let i = 0; i < perRun; i++) room.bytes.set(frame, i * frame.length);
const batch = new SendBatch(BATCH);
const begin = bootTime();
const pause = new Int32Array(new SharedArrayBuffer(4));
while (shared[FLOOD_WORD.stop] === 0) {
  if (shared[FLOOD_WORD.sent]! > (bootTime() - begin) * perMillisecond) {
    Atomics.wait(pause, 0, 0, 1);
    continue;
  }
  for (let i = 0; i < BATCH; i++) {
    batch.addRun(room.address, perRun * frame.length, frame.length, to, 0, 0);
  }
  while (batch.flush(fd) !== 0) batch.skip();
  shared[FLOOD_WORD.sent]! += BATCH * perRun;
}
