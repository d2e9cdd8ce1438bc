import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits until something is so, and looks often. What tests do in place of sleeping for some time that is
 * always too long here and too short on a slower machine.
 *
 * The time without `milliseconds` is longer than anything in here may take, the longest wait before a hub is tried again
 * included (30 s), on a machine that is slow and has other things to do: it is no measure of anything.
 *
 * @param what for the error message: `the route to come back`
 * @returns the first result that is neither false nor undefined
 * @throws Error when it has not become so within `milliseconds`
 */
export async function until<T>(
  what: string,
  check: () => T | Promise<T>,
  milliseconds = 90_000,
): Promise<Exclude<T, false | undefined>> {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const result = await check();
    if (result !== false && result !== undefined) return result as Exclude<T, false | undefined>;
    if (performance.now() > deadline) throw new Error(`waited ${milliseconds / 1000} s in vain for ${what}`);
    await sleep(20);
  }
}
