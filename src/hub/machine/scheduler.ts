/** The time by which the hub acts, and a way to act later. The hub's machine has no other. */
export interface Scheduler {
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  /** Calls `fn` after everything else that is due now. */
  soon(fn: () => void): void;
  later(fn: () => void, milliseconds: number): void;
}
