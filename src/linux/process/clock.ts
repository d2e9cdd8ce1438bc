import { WallClock } from '../../wall-clock.js';
import { libc } from '../ffi/libc.js';
import { allocate } from '../ffi/memory.js';

/** linux/time.h. */
const CLOCK_THREAD_CPUTIME_ID = 3;
const CLOCK_BOOTTIME = 7;

/** struct timespec on 64-bit machines: seconds i64, nanoseconds i64. */
const TIMESPEC = { seconds: 0, nanoseconds: 8, size: 16 } as const;

const time = allocate(TIMESPEC.size);

/**
 * Milliseconds since the machine was started, including the time that it was suspended, with a fraction. It never goes
 * back and is never 0. It is the same in all threads and processes.
 */
export const bootTime = (): number => read(CLOCK_BOOTTIME);

/** This machine's clock, for what is stored. */
export const systemWallClock = (): WallClock => new WallClock(() => Date.now(), bootTime);

/** CPU time of the calling thread in milliseconds, with a fraction. */
export const threadTime = (): number => read(CLOCK_THREAD_CPUTIME_ID);

function read(clock: number): number {
  libc.clock_gettime(clock, time.address);
  const { view } = time;
  const seconds =
    view.getUint32(TIMESPEC.seconds, true) + view.getUint32(TIMESPEC.seconds + 4, true) * 2 ** 32;
  return seconds * 1000 + view.getUint32(TIMESPEC.nanoseconds, true) / 1e6;
}
