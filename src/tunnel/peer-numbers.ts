import type { SharedRing } from '../linux/threads/shared-ring.js';
import type { PeerNumber } from '../wireguard/numbers.js';

/** A number that was given back, and what has to be read before it is free. */
interface Retired {
  readonly id: PeerNumber;
  /** The worker must have read the ring of commands up to here: the peer's removal is the last of them. */
  readonly removed: number;
  /** Then we must have read each ring from the worker up to here; undefined while the worker has not got there. */
  reported: readonly number[] | undefined;
}

/**
 * The numbers by which both threads know the peers. A record that waits in a ring names a peer by its number, and so
 * does a row that the worker writes to. So a removed peer's number is free only when the worker has read of the removal,
 * and we have read everything that it had written until then: no late record can be taken for another peer's.
 */
export class PeerNumbers {
  readonly #commands: Pick<SharedRing, 'written' | 'read'>;
  readonly #fromWorker: readonly Pick<SharedRing, 'written' | 'read'>[];
  readonly #free: PeerNumber[] = [];
  /** The oldest first. */
  readonly #retired: Retired[] = [];
  #next = 0;

  /**
   * @param commands the ring to the worker
   * @param fromWorker the rings whose records name peers
   */
  constructor(
    commands: Pick<SharedRing, 'written' | 'read'>,
    fromWorker: readonly Pick<SharedRing, 'written' | 'read'>[],
  ) {
    this.#commands = commands;
    this.#fromWorker = fromWorker;
  }

  take(): PeerNumber {
    this.reclaim();
    return this.#free.pop() ?? (this.#next++ as PeerNumber);
  }

  /** The command that removes the peer must have been written. */
  giveBack(id: PeerNumber): void {
    this.#retired.push({ id, removed: this.#commands.written, reported: undefined });
  }

  /** Finds out which numbers are free by now. Call it at least once in 2^31 records of any ring. */
  reclaim(): void {
    if (this.#retired.length === 0) return;
    const { read } = this.#commands;
    const written = this.#fromWorker.map((ring) => ring.written); // in this order: what came before is in it
    for (const retired of this.#retired) {
      if (!isPast(read, retired.removed)) break;
      retired.reported ??= written;
    }
    let done = 0;
    for (const { id, reported } of this.#retired) {
      if (!reported || !this.#fromWorker.every((ring, i) => isPast(ring.read, reported[i]!))) break;
      this.#free.push(id);
      done++;
    }
    this.#retired.splice(0, done);
  }
}

/** Counts of records are modulo 2^32. */
const isPast = (count: number, mark: number): boolean => ((count - mark) | 0) >= 0;
