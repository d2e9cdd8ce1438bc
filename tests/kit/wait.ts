import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Polls until a condition holds. Tests use it instead of sleeping for a time that is too long here and too short on a
 * slower machine.
 *
 * The default is longer than anything here takes on a slow and busy machine, including the longest pause before a node
 * tries its hub again (30 s). It measures nothing.
 *
 * @param what completes the error message: `the route to come back`
 * @returns the first result that is neither false nor undefined
 * @throws Error when the condition does not hold within `milliseconds`
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
    if (performance.now() > deadline)
      throw new Error(`timed out after ${milliseconds / 1000} s waiting for ${what}`);
    await sleep(20);
  }
}
