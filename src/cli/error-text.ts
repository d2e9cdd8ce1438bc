import { LametunError } from '../errors.js';
import { forTerminal } from '../protocol/text.js';

/** The text of an error for the user: its message, or everything known about a bug. */
export function errorText(error: unknown): string {
  if (error instanceof LametunError) return forTerminal(error.message);
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return forTerminal(`this is a bug in lametun, please report it: ${text}`);
}
