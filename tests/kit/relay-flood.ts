/** The data of a thread that floods a relay: see `RelayMember.flood`. */
export interface FloodData {
  readonly fd: number;
  /** An `ENDPOINT` record. */
  readonly endpoint: SharedArrayBuffer;
  readonly frame: Uint8Array;
  /** Frames in a run (UDP GSO); 1 sends each frame alone. */
  readonly perRun: number;
  /** A limit on frames per millisecond. Default: none. */
  readonly perMillisecond?: number;
  readonly words: SharedArrayBuffer;
}

/** Doubles in `words`: `stop` is not 0 when the thread must stop; `sent` counts frames. */
export const FLOOD_WORD = { stop: 0, sent: 1 } as const;
