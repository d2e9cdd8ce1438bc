import type { SharedRing } from '../linux/threads/shared-ring.js';
import type { PeerNumber } from '../wireguard/numbers.js';

/** A number that was given back, and the records that must be read before it is free. */
interface Retired {
  readonly id: PeerNumber;
  /** The worker must have read commands up to here; the last of them removes the peer. */
  readonly removed: number;
  /**
   * Then the control plane must have read each of the worker's rings up to here; undefined until the worker is there.
   */
  reported: readonly number[] | undefined;
}

/**
 * The numbers by which both threads know the peers. Records that wait in a ring name peers by number, and the worker
 * writes to rows by number. So a removed peer's number becomes free only when the worker has read the removal, and the
 * control plane has read everything that the worker had written until then. No late record is taken for another peer's.
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

  /** Write the command that removes the peer first. */
  giveBack(id: PeerNumber): void {
    this.#retired.push({ id, removed: this.#commands.written, reported: undefined });
  }

  /** Finds the numbers that have become free. Call it at least once in 2^31 records of any ring. */
  reclaim(): void {
    if (this.#retired.length === 0) return;
    const { read } = this.#commands;
    // After `read`, so that it covers everything that was written until then.
    const written = this.#fromWorker.map((ring) => ring.written);
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

/** Whether a count of records has reached a mark, modulo 2^32. */
const isPast = (count: number, mark: number): boolean => ((count - mark) | 0) >= 0;
