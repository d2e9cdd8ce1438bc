/** Words at the beginning of a ring: the counts of records written and read, modulo 2^32. */
const WRITTEN = 0;
const READ = 1;
const HEADER = 16;

/** How long to wait before checking for room again, milliseconds. */
const ROOM_PAUSE = 1;

/**
 * A ring of records in shared memory. One thread writes, another reads, and neither waits for the other. If it is full,
 * `claim` says so, and the writer decides what to do.
 */
export class SharedRing {
  readonly buffer: SharedArrayBuffer;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly view: DataView<SharedArrayBuffer>;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #recordSize: number;
  readonly #records: number;

  /**
   * @param recordSize in bytes, a multiple of 8
   * @param records a power of two
   * @param buffer the other thread's; a new one unless given
   */
  constructor(
    recordSize: number,
    records: number,
    buffer = new SharedArrayBuffer(HEADER + records * recordSize),
  ) {
    this.buffer = buffer;
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.#words = new Int32Array(buffer, 0, HEADER / 4);
    this.#recordSize = recordSize;
    this.#records = records;
  }

  /** How many records wait to be read. */
  get pending(): number {
    return (this.written - this.read) | 0;
  }

  /** The counts of records written and read, modulo 2^32, as signed integers. */
  get written(): number {
    return Atomics.load(this.#words, WRITTEN);
  }

  get read(): number {
    return Atomics.load(this.#words, READ);
  }

  /** Writer: where to write the next record, or -1 if the ring is full. */
  claim(): number {
    return this.pending >= this.#records ? -1 : this.#offset(this.#words[WRITTEN]!);
  }

  /**
   * Writer: the same, but waits for room. The reader makes room within microseconds unless it has died.
   *
   * @param ended a word of shared memory that is not 0 once the reader has ended; then the result is -1
   */
  claimPatiently(ended: Int32Array): number {
    for (let at = this.claim(); ; at = this.claim()) {
      if (at >= 0 || Atomics.load(ended, 0) !== 0) return at;
      Atomics.wait(ended, 0, 0, ROOM_PAUSE);
    }
  }

  /** Writer: the claimed record is complete. */
  commit(): void {
    Atomics.store(this.#words, WRITTEN, (this.#words[WRITTEN]! + 1) | 0);
  }

  /** Reader: where the next record is, or -1 if there is none. */
  peek(): number {
    return this.pending === 0 ? -1 : this.#offset(this.#words[READ]!);
  }

  /** Reader: where a pending record is; 0 is the next one. */
  peekAt(index: number): number {
    return this.#offset(this.#words[READ]! + index);
  }

  /** Reader: the record is no longer needed. */
  release(): void {
    Atomics.store(this.#words, READ, (this.#words[READ]! + 1) | 0);
  }

  #offset(count: number): number {
    return HEADER + ((count >>> 0) % this.#records) * this.#recordSize;
  }
}
