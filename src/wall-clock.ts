/** A smaller difference is no step of the clock but the time between two looks, milliseconds. */
const LEAST_STEP = 5_000;

/** The clock was set: a time stamped since the machine was started, from `from` to `to`, should have been later by `by`. */
export interface ClockStep {
  readonly from: number;
  readonly to: number;
  /** Milliseconds; negative when the clock was ahead. */
  readonly by: number;
}

/**
 * Milliseconds since 1970 for what is stored, by a clock that is not set behind the back of its user: a machine without a
 * battery begins in 1970, and gets the time from the network when it is up. That is a step, to be carried out on all that
 * was stamped before; until it is adopted, this clock goes on as it was.
 */
export class WallClock {
  readonly #wall: () => number;
  readonly #steady: () => number;
  #offset: number;

  /** @param wall milliseconds since 1970, may be set @param steady milliseconds since the machine was started, never set */
  constructor(wall: () => number, steady: () => number) {
    this.#wall = wall;
    this.#steady = steady;
    this.#offset = wall() - steady();
  }

  now(): number {
    return Math.round(this.#steady() + this.#offset);
  }

  /** Whether the clock was set, and what that means for the times that were stamped since the machine was started. */
  step(): ClockStep | undefined {
    const to = this.now();
    const by = Math.round(this.#wall() - to);
    if (Math.abs(by) >= LEAST_STEP) return { from: Math.floor(this.#offset), to, by };
    this.#offset += by;
    return undefined;
  }

  /** What was stamped before has been moved. */
  adopt({ by }: ClockStep): void {
    this.#offset += by;
  }
}

/** A time that was stamped before a step, as it would have been stamped after it; others as they are. */
export const moved = (time: number, { from, to, by }: ClockStep): number =>
  time >= from && time <= to ? time + by : time;
