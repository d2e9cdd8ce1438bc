/** The clock and the timers of the hub's machine. */
export interface Scheduler {
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  /** Calls `fn` after everything else that is due now. */
  soon(fn: () => void): void;
  later(fn: () => void, milliseconds: number): void;
}
