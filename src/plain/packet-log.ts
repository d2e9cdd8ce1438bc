/** What a record of the log tells. */
export const KIND = {
  /** A packet left through the tunnel. */
  out: 1,
  /** A packet came through the tunnel. */
  in: 2,
  /** The listener learned behind which outer address the source of this packet is. */
  learned: 3,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

/** One record: kind u32, length of the packet u32, outer socket address 28 bytes, the packet's first bytes. */
const RECORD = { kind: 0, length: 4, outer: 8, outerLength: 28, head: 36, size: 128 } as const;

/** How much of a packet a record holds: enough for IPv6 and TCP headers. */
export const HEAD_LENGTH = RECORD.size - RECORD.head;

const RECORDS = 1024;
const HEADER = 16;
/** Words of the header: how many records were written, read, and lost because the reader was too slow. */
const WRITTEN = 0;
const READ = 1;
const MISSED = 2;

export interface LogRecord {
  readonly kind: Kind;
  /** Bytes of the packet, without packet information. */
  readonly length: number;
  /** A socket address as the kernel writes it. */
  readonly outer: DataView;
  /** The first `HEAD_LENGTH` bytes of the packet. */
  readonly head: Uint8Array;
}

/**
 * A ring in shared memory through which the worker tells the main thread what it saw. One writes, the other
 * reads; when the reader is too slow records are lost and counted, and packets never wait for it.
 */
export class PacketLog {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  /** @param buffer that of the other thread's log; without it, a new one is made */
  constructor(buffer = new SharedArrayBuffer(HEADER + RECORDS * RECORD.size)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, HEADER / 4);
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
  }

  /**
   * @param packet where the packet begins in `bytes`, and its length
   * @param outer where the outer socket address begins in `outerBytes`
   */
  write(
    kind: Kind,
    bytes: Uint8Array,
    packet: number,
    length: number,
    outerBytes: Uint8Array,
    outer: number,
  ): void {
    const written = this.#words[WRITTEN]!;
    if (((written - Atomics.load(this.#words, READ)) | 0) >= RECORDS) {
      this.#words[MISSED]!++;
      return;
    }
    const at = recordOffset(written);
    this.#view.setUint32(at + RECORD.kind, kind);
    this.#view.setUint32(at + RECORD.length, length);
    for (let i = 0; i < RECORD.outerLength; i++) this.#bytes[at + RECORD.outer + i] = outerBytes[outer + i]!;
    const head = Math.min(length, HEAD_LENGTH);
    for (let i = 0; i < head; i++) this.#bytes[at + RECORD.head + i] = bytes[packet + i]!;
    Atomics.store(this.#words, WRITTEN, (written + 1) | 0);
  }

  /** Takes the next record. @returns undefined when there is none */
  read(): LogRecord | undefined {
    const read = this.#words[READ]!;
    if (read === Atomics.load(this.#words, WRITTEN)) return undefined;
    const at = recordOffset(read);
    const copy = this.#bytes.slice(at, at + RECORD.size);
    Atomics.store(this.#words, READ, (read + 1) | 0); // from here on the worker may write over it
    const view = new DataView(copy.buffer);
    const length = view.getUint32(RECORD.length);
    return {
      kind: view.getUint32(RECORD.kind) as Kind,
      length,
      outer: new DataView(copy.buffer, RECORD.outer, RECORD.outerLength),
      head: copy.subarray(RECORD.head, RECORD.head + Math.min(length, HEAD_LENGTH)),
    };
  }

  /** How many records were lost so far. */
  get missed(): number {
    return Atomics.load(this.#words, MISSED);
  }
}

/** Counts wrap at 2^32, which `RECORDS` divides. */
const recordOffset = (count: number): number => HEADER + ((count >>> 0) % RECORDS) * RECORD.size;
