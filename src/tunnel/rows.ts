import { ACTIVITY } from '../wireguard/activity.js';
import type { PeerNumber } from '../wireguard/numbers.js';

/** What a row holds beside `ACTIVITY`, written by the worker alone: bytes on the wire below UDP. */
export const TRAFFIC = { received: ACTIVITY.words, sent: ACTIVITY.words + 1 } as const;

const ROW_WORDS = 16;
const PAGE_ROWS = 1024;
/** Behind the rows of a page: for each, whether the control plane was woken up and has not read it yet. */
const FLAGS_OFFSET = PAGE_ROWS * ROW_WORDS * 8;
const PAGE_SIZE = FLAGS_OFFSET + PAGE_ROWS * 4;

/**
 * One row for each peer, in memory that both threads see. It grows by pages, which stay where they are, so that a row
 * stays where it is while others are added.
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

  /** Makes a new page if a peer's row is beyond the last. @returns it, for the other thread */
  grow(peer: PeerNumber): SharedArrayBuffer | undefined {
    if (Math.floor(peer / PAGE_ROWS) < this.pages.length) return undefined;
    const page = new SharedArrayBuffer(PAGE_SIZE);
    this.addPage(page);
    return page;
  }

  /** The array that holds a peer's row, from `offset(peer)` on. */
  array(peer: PeerNumber): Float64Array {
    return this.#rows[Math.floor(peer / PAGE_ROWS)]!;
  }

  offset(peer: PeerNumber): number {
    return (peer % PAGE_ROWS) * ROW_WORDS;
  }

  /** Control plane: the peer is new, and the worker does not know of it yet. */
  clear(peer: PeerNumber): void {
    this.array(peer).fill(0, this.offset(peer), this.offset(peer) + ROW_WORDS);
    this.takeWakeUp(peer);
  }

  /** Worker: wakes the control plane up. @returns whether nobody had before */
  requestWakeUp(peer: PeerNumber): boolean {
    return Atomics.exchange(this.#flags[Math.floor(peer / PAGE_ROWS)]!, peer % PAGE_ROWS, 1) === 0;
  }

  /** Control plane: it reads the row now; what is written from here on needs a new wake-up. */
  takeWakeUp(peer: PeerNumber): void {
    Atomics.store(this.#flags[Math.floor(peer / PAGE_ROWS)]!, peer % PAGE_ROWS, 0);
  }
}
