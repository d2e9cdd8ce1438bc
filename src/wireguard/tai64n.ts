/** The timestamp of an initiation, [W] 5.1: TAI64N, 12 bytes, big-endian seconds and nanoseconds. */
export const TAI64N = { seconds: 0, nanoseconds: 8, length: 12 } as const;

/** TAI64 labels count from 2^62; the 10 seconds are TAI's lead in 1970, as all implementations have it. */
const TAI64_BASE_HIGH = 0x40000000;
const TAI_OFFSET = 10;

/** Nanoseconds are rounded down to multiples of this (16.8 ms), so that they tell nobody how loaded we are. */
const GRANULE = 2 ** 24;
const GRANULES_PER_SECOND = Math.ceil(1e9 / GRANULE);

/**
 * Makes timestamps that increase strictly as long as this object lives, also when the clock is set back: the
 * peer refuses an initiation that is not newer than all before it. One object serves all peers of a device.
 */
export class TimestampSource {
  #seconds = 0;
  #granule = -1;

  /** @param wallClock milliseconds since 1970 */
  next(wallClock: number): Uint8Array {
    const seconds = Math.floor(wallClock / 1000);
    const granule = Math.floor(((wallClock - seconds * 1000) * 1e6) / GRANULE);
    if (seconds > this.#seconds || (seconds === this.#seconds && granule > this.#granule)) {
      this.#seconds = seconds;
      this.#granule = granule;
    } else if (++this.#granule === GRANULES_PER_SECOND) {
      this.#seconds++;
      this.#granule = 0;
    }
    return tai64n(this.#seconds, this.#granule * GRANULE);
  }
}

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
