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

  /** @param wall milliseconds since 1970, may be set @param steady milliseconds since the machine started, never set */
  constructor(wall: () => number, steady: () => number) {
    this.#wall = wall;
    this.#steady = steady;
    this.#offset = wall() - steady();
  }

  now(): number {
    return Math.round(this.#steady() + this.#offset);
  }

  /** The step if the clock was set; undefined otherwise. */
  step(): ClockStep | undefined {
    const to = this.now();
    const by = Math.round(this.#wall() - to);
    if (Math.abs(by) >= LEAST_STEP) return { from: Math.floor(this.#offset), to, by };
    this.#offset += by;
    return undefined;
  }

  /** Takes over a step, after stored timestamps were shifted. */
  adopt({ by }: ClockStep): void {
    this.#offset += by;
  }
}

/** A timestamp after a step: shifted if it was made before the step, otherwise unchanged. */
export const moved = (time: number, { from, to, by }: ClockStep): number =>
  time >= from && time <= to ? time + by : time;
