import { ACTIVITY } from '../wireguard/activity.js';
import type { PeerNumber } from '../wireguard/numbers.js';

/** What a row holds besides `ACTIVITY`: bytes of UDP payload. Only the worker writes them. */
export const TRAFFIC = { received: ACTIVITY.words, sent: ACTIVITY.words + 1 } as const;

const ROW_WORDS = 16;
const PAGE_ROWS = 1024;
/** Behind the rows of a page: one flag each, set from the wake-up until the control plane reads the row. */
const FLAGS_OFFSET = PAGE_ROWS * ROW_WORDS * 8;
const PAGE_SIZE = FLAGS_OFFSET + PAGE_ROWS * 4;

/**
 * One row for each peer, in memory that both threads see. It grows by pages that never move, so rows never move either.
 */
export class Rows {
  readonly pages: SharedArrayBuffer[] = [];
  readonly #rows: Float64Array[] = [];
  readonly #flags: Int32Array[] = [];

  /** Makes a page known to this thread. */
  addPage(page: SharedArrayBuffer): void {
    this.pages.push(page);
    this.#rows.push(new Float64Array(page, 0, PAGE_ROWS * ROW_WORDS));
    this.#flags.push(new Int32Array(page, FLAGS_OFFSET, PAGE_ROWS));
  }

  /** Makes a new page if a peer's row is beyond the last. @returns the page, for the other thread */
  grow(peer: PeerNumber): SharedArrayBuffer | undefined {
    if (Math.floor(peer / PAGE_ROWS) < this.pages.length) return undefined;
    const page = new SharedArrayBuffer(PAGE_SIZE);
    this.addPage(page);
    return page;
  }

  /** The array that holds a peer's row at `offset(peer)`. */
  array(peer: PeerNumber): Float64Array {
    return this.#rows[Math.floor(peer / PAGE_ROWS)]!;
  }

  offset(peer: PeerNumber): number {
    return (peer % PAGE_ROWS) * ROW_WORDS;
  }

  /** Control plane: clears the row of a peer that the worker does not know yet. */
  clear(peer: PeerNumber): void {
    this.array(peer).fill(0, this.offset(peer), this.offset(peer) + ROW_WORDS);
    this.takeWakeUp(peer);
  }

  /** Worker: sets the flag. @returns whether it was clear */
  requestWakeUp(peer: PeerNumber): boolean {
    return Atomics.exchange(this.#flags[Math.floor(peer / PAGE_ROWS)]!, peer % PAGE_ROWS, 1) === 0;
  }

  /** Control plane: clears the flag before it reads the row, so that later changes set it again. */
  takeWakeUp(peer: PeerNumber): void {
    Atomics.store(this.#flags[Math.floor(peer / PAGE_ROWS)]!, peer % PAGE_ROWS, 0);
  }
}
