import { closeSync, writeSync } from 'node:fs';

/** What a background process reports to its parent when it is up. */
export const READY = 'ready';

/**
 * Reports how the start of a background process went.
 *
 * @param variable the environment variable with the descriptor to write to; without it, nothing is reported
 */
export function tellParent(variable: string, text: string): void {
  const fd = process.env[variable];
  if (!fd) return;
  delete process.env[variable];
  try {
    writeSync(Number(fd), text);
    closeSync(Number(fd));
  } catch {} // the parent was killed
}
