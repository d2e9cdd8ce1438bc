/** Words at the beginning of a ring: how many records were written and read, both modulo 2^32. */
const WRITTEN = 0;
const READ = 1;
const HEADER = 16;

/** How long to wait before looking again whether the reader has made room, milliseconds. */
const ROOM_PAUSE = 1;

/**
 * A ring of records in shared memory: one thread writes, another reads, and neither ever waits for the other. When
 * it is full, `claim` says so, and what to do then is the writer's to decide.
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
   * @param buffer that of the other thread's ring; without it, a new one is made
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

  /** How many records were written and read so far, modulo 2^32, as signed integers. */
  get written(): number {
    return Atomics.load(this.#words, WRITTEN);
  }

  get read(): number {
    return Atomics.load(this.#words, READ);
  }

  /** Writer: where the next record is to be written, or -1 while the ring is full. */
  claim(): number {
    return this.pending >= this.#records ? -1 : this.#offset(this.#words[WRITTEN]!);
  }

  /**
   * Writer: the same, but waits for room. The reader makes some within microseconds, unless it has died.
   *
   * @param ended a word of shared memory, that becomes other than 0 when the reader has ended: then this is -1
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

  /** Reader: where the next record is, or -1 when there is none. */
  peek(): number {
    return this.pending === 0 ? -1 : this.#offset(this.#words[READ]!);
  }

  /** Reader: where one of the `pending` records is, counted from the next one on. */
  peekAt(index: number): number {
    return this.#offset(this.#words[READ]! + index);
  }

  /** Reader: the record is not needed any more. */
  release(): void {
    Atomics.store(this.#words, READ, (this.#words[READ]! + 1) | 0);
  }

  #offset(count: number): number {
    return HEADER + ((count >>> 0) % this.#records) * this.#recordSize;
  }
}
