/**
 * The smallest step of the clock, milliseconds. Smaller differences come from reading two clocks one after the other.
 */
const LEAST_STEP = 5_000;

/**
 * The clock was set: timestamps from `from` to `to`, made since the machine started, should have been later by `by`.
 */
export interface ClockStep {
  readonly from: number;
  readonly to: number;
  /** Milliseconds; negative if the clock was ahead. */
  readonly by: number;
}

/**
 * Milliseconds since 1970 for stored timestamps, by a clock that never jumps unnoticed. A machine without a battery
 * starts in 1970, and gets the time from the network later: a step. Shift all stored timestamps by it, then adopt it.
 * Until then, this clock continues unchanged.
 */
export class WallClock {
  readonly #wall: () => number;
  readonly #steady: () => number;
  #offset: number;
  /** The latest time that `now` has returned. Small steps may set the clock back behind it. */
  #latest = -Infinity;

  /** @param wall milliseconds since 1970, may be set @param steady milliseconds since the machine started, never set */
  constructor(wall: () => number, steady: () => number) {
    this.#wall = wall;
    this.#steady = steady;
    this.#offset = wall() - steady();
  }

  now(): number {
    const now = Math.round(this.#steady() + this.#offset);
    this.#latest = Math.max(this.#latest, now);
    return now;
  }

  /** The step if the clock was set; undefined otherwise. */
  step(): ClockStep | undefined {
    const by = Math.round(this.#wall() - this.now());
    if (Math.abs(by) >= LEAST_STEP) return { from: Math.floor(this.#offset), to: this.#latest, by };
    this.#offset += by;
    return undefined;
  }

  /** Takes over a step, after stored timestamps were shifted. */
  adopt({ by }: ClockStep): void {
    this.#offset += by;
    this.#latest += by;
  }
}

/** A timestamp after a step: shifted if it was made before the step, otherwise unchanged. */
export const moved = (time: number, { from, to, by }: ClockStep): number =>
  time >= from && time <= to ? time + by : time;
