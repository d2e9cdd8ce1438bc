/** The longest wait, milliseconds: timers stop while the machine sleeps. */
const LONGEST = 5_000;

/** The timer of one state machine, set again for its next timeout after everything that happens. */
export class Timer {
  readonly #fire: () => void;
  #timer: NodeJS.Timeout | undefined;
  #at = Infinity;

  constructor(fire: () => void) {
    this.#fire = fire;
  }

  /** @param at when to fire @param now on the same clock */
  set(at: number, now: number): void {
    const due = Math.min(at, now + LONGEST);
    if (this.#timer !== undefined && this.#at <= due && this.#at > now) return; // firing early is harmless: it is set again then
    clearTimeout(this.#timer);
    this.#at = due;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#fire();
      },
      Math.max(0, Math.ceil(due - now)),
    );
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
