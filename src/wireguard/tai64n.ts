import type { Rate } from '../token-bucket.js';
import { INITIATION_INTERVAL } from './constants.js';

/** The timestamp of an initiation, [W] 5.1: TAI64N, 12 bytes, big-endian seconds and nanoseconds. */
export const TAI64N = { seconds: 0, nanoseconds: 8, length: 12 } as const;

/** TAI64 labels count from 2^62; the 10 seconds are TAI's lead in 1970, as all implementations have it. */
const TAI64_BASE_HIGH = 0x40000000;
const TAI_OFFSET = 10;

/** Nanoseconds are rounded down to multiples of this (16.8 ms), so that they tell nobody how loaded we are. */
const GRANULE = 2 ** 24;
const GRANULES_PER_SECOND = Math.ceil(1e9 / GRANULE);

/**
 * Makes the timestamps for one peer. They always increase, also when the clock is set back: the peer refuses an
 * initiation that is not newer than all before. Otherwise they follow the clock, so that the peer accepts those of a
 * restarted device. Each one within the same granule runs one granule ahead of the clock; `OWN_INITIATIONS` bounds that.
 */
export class TimestampSource {
  /** Granules since 1970; the last one of a second is shorter. */
  #last: number;

  /** @param before a source whose timestamps the peer may have seen */
  constructor(before?: TimestampSource) {
    this.#last = before ? before.#last : -Infinity;
  }

  /** @param wallClock milliseconds since 1970 */
  next(wallClock: number): Uint8Array {
    const seconds = Math.floor(wallClock / 1000);
    const granule = Math.floor(((wallClock - seconds * 1000) * 1e6) / GRANULE);
    this.#last = Math.max(seconds * GRANULES_PER_SECOND + granule, this.#last + 1);
    const second = Math.floor(this.#last / GRANULES_PER_SECOND);
    return tai64n(second, (this.#last - second * GRANULES_PER_SECOND) * GRANULE);
  }

  /** Whether its last timestamp is later than another's. */
  isAhead(other: TimestampSource): boolean {
    return this.#last > other.#last;
  }
}

/**
 * How many initiations may go to one peer. Their interval is longer than a granule: timestamps are ahead of the clock by
 * less than 0.14 s, and no program is started again within that.
 */
export const OWN_INITIATIONS: Rate = { rate: 1000 / INITIATION_INTERVAL, burst: 8 };

/** The label of a time in seconds since 1970. */
export function tai64n(seconds: number, nanoseconds: number): Uint8Array {
  const bytes = new Uint8Array(TAI64N.length);
  const view = new DataView(bytes.buffer);
  const label = seconds + TAI_OFFSET;
  view.setUint32(TAI64N.seconds, TAI64_BASE_HIGH + Math.floor(label / 2 ** 32));
  view.setUint32(TAI64N.seconds + 4, label % 2 ** 32);
  view.setUint32(TAI64N.nanoseconds, nanoseconds);
  return bytes;
}

/** Whether timestamp `a` is later than `b`: big-endian labels compare like byte strings. */
export function isAfter(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < TAI64N.length; i++) {
    if (a[i] !== b[i]) return a[i]! > b[i]!;
  }
  return false;
}
