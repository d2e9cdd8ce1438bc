import { KEEPALIVE_TIMEOUT } from './constants.js';
import type { ReceiverIndex } from './numbers.js';

/**
 * What the data path and the control plane tell each other about one peer's traffic. This seam keeps packets off the
 * main thread while the timers of [W] 6 run on it.
 *
 * A row is `ACTIVITY.words` doubles in a Float64Array from `at` on, possibly shared between two threads; every
 * word has one writer. Times are milliseconds of a clock that counts suspended time, with a fraction if there is
 * one, and never 0: 0 means "never".
 */
export const ACTIVITY = {
  // written by the control plane
  /** Packets sent up to this time need no answer: a handshake message came, or is requested. */
  answeredSent: 0,
  /** Packets received up to this time need no answer: a handshake message or a keepalive was sent. */
  answeredReceived: 1,
  /** When the control plane reads this row of its own accord. */
  wakeUpAt: 2,
  /** The data path does not ask for a handshake before this time. */
  askAgainAt: 3,
  // written by the data path
  /** Last authenticated packet sent. */
  sent: 4,
  /** Last authenticated packet received. */
  received: 5,
  /** First data packet sent since the last authenticated packet was received; 0 if none was. */
  unansweredSent: 6,
  /** First data packet received since the last authenticated packet was sent; 0 if none was. */
  unansweredReceived: 7,
  /** When a handshake was last asked for. */
  asked: 8,
  /** The receiver index of the last keypair that was confirmed by a first packet. */
  confirmed: 9,
  words: 10,
} as const;

/** Bytes of UDP payload between this machine and a peer so far, as `wg show` counts them. */
export interface Transfer {
  readonly received: number;
  readonly sent: number;
}

/** A row before any traffic. */
export function resetActivity(row: Float64Array, at: number): void {
  row.fill(0, at, at + ACTIVITY.words);
  row[at + ACTIVITY.wakeUpAt] = Infinity;
}

/**
 * The data path sent an authenticated packet.
 *
 * @param hasData false for a keepalive
 * @returns whether the control plane must be woken, or else would read the row too late
 */
export function noteSent(row: Float64Array, at: number, hasData: boolean, now: number): boolean {
  row[at + ACTIVITY.sent] = now;
  row[at + ACTIVITY.unansweredReceived] = 0;
  return hasData && noteUnanswered(row, at, ACTIVITY.unansweredSent, ACTIVITY.answeredSent, now);
}

/** The data path received an authenticated packet; like `noteSent`. */
export function noteReceived(row: Float64Array, at: number, hasData: boolean, now: number): boolean {
  row[at + ACTIVITY.received] = now;
  row[at + ACTIVITY.unansweredSent] = 0;
  return hasData && noteUnanswered(row, at, ACTIVITY.unansweredReceived, ACTIVITY.answeredReceived, now);
}

function noteUnanswered(
  row: Float64Array,
  at: number,
  first: number,
  answered: number,
  now: number,
): boolean {
  const since = row[at + first]!;
  if (since !== 0 && since >= row[at + answered]!) return false;
  row[at + first] = now;
  // No timer that this starts is shorter: a wake-up before then is in time.
  return row[at + ACTIVITY.wakeUpAt]! > now + KEEPALIVE_TIMEOUT;
}

/**
 * The data path wants a handshake: it has no key to send under, or one that is getting old.
 *
 * @returns whether the control plane must be woken
 */
export function askForHandshake(row: Float64Array, at: number, now: number): boolean {
  if (now < row[at + ACTIVITY.askAgainAt]!) return false;
  row[at + ACTIVITY.asked] = now;
  return true;
}

/** A first packet came in under a keypair that we made as the responder. From now on we may send under it. */
export function noteConfirmed(row: Float64Array, at: number, localIndex: ReceiverIndex): void {
  row[at + ACTIVITY.confirmed] = localIndex;
}
