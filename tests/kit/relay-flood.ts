/** What a thread needs that floods a relay: see `RelayMember.flood`. */
export interface FloodData {
  readonly fd: number;
  /** An `ENDPOINT` record. */
  readonly endpoint: SharedArrayBuffer;
  readonly frame: Uint8Array;
  /** How many frames go as one that the kernel cuts up; 1: each goes alone. */
  readonly perRun: number;
  /** Frames; as many as it can unless given. */
  readonly perMillisecond?: number;
  readonly words: SharedArrayBuffer;
}

/** Doubles in `words`: not 0 when it is to stop; how many frames were sent. */
export const FLOOD_WORD = { stop: 0, sent: 1 } as const;
