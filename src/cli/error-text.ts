import { LametunError } from '../errors.js';
import { forTerminal } from '../protocol/text.js';

/** What a user reads of an error: its message, and all that is known of one that should not have been. */
export function errorText(error: unknown): string {
  if (error instanceof LametunError) return forTerminal(error.message);
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return forTerminal(`this is a defect of lametun, please report it: ${text}`);
}
