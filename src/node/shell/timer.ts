/** Timers stand still while the machine sleeps: never wait for longer. Milliseconds. */
const LONGEST = 5_000;

/** One timer for a machine: it is set for the machine's next timeout after everything that happens. */
export class Timer {
  readonly #fire: () => void;
  #timer: NodeJS.Timeout | undefined;
  #at = Infinity;

  constructor(fire: () => void) {
    this.#fire = fire;
  }

  /** @param at when to fire, of the machine's clock @param now of the same */
  set(at: number, now: number): void {
    const due = Math.min(at, now + LONGEST);
    if (this.#timer !== undefined && this.#at <= due && this.#at > now) return; // early is good: it is set anew then
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
