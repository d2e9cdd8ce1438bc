/**
 * What a database error means. `conflict`: another writer at the same time, try again at once. `away`: unreachable, restarting
 * or too busy, wait. `no-room`: it cannot write. `fatal`: trying again is useless.
 */
export type Trouble = 'conflict' | 'away' | 'no-room' | 'fatal';

/** PostgreSQL's SQLSTATEs by prefix, appendix A of its manual. */
const BY_STATE: readonly (readonly [string, Trouble])[] = [
  ['40', 'conflict'], // serialization_failure, deadlock_detected
  ['08', 'away'], // connection exceptions
  ['57', 'away'], // shutdown, starting up, statement timeout
  ['55P03', 'away'], // lock timeout
  ['25006', 'away'], // read-only: a standby before it takes over
  ['25P03', 'away'], // idle in transaction
  ['53100', 'no-room'],
  ['53', 'away'], // out of memory, too many connections
  ['58', 'no-room'], // I/O errors
];

const NETWORK_ERRORS: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'ETIMEDOUT',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'ENOENT', // of a unix socket
]);

/** Errors of pg and SQLite without a code. */
const BY_MESSAGE: readonly (readonly [RegExp, Trouble])[] = [
  [/^connection terminated|^timeout exceeded when trying to connect|^query read timeout/i, 'away'],
  [/client has encountered a connection error|connection ended unexpectedly/i, 'away'],
  [/disk is full|disk i\/o error/i, 'no-room'],
  [/unable to open database file/i, 'no-room'],
];

export function troubleOf(error: unknown): Trouble {
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (typeof code === 'string') {
    if (NETWORK_ERRORS.has(code)) return 'away';
    const byState = BY_STATE.find(([state]) => code.startsWith(state));
    if (byState !== undefined && code.length === 5) return byState[1];
  }
  return BY_MESSAGE.find(([pattern]) => pattern.test(String(message)))?.[1] ?? 'fatal';
}
