import { SharedRing } from '../linux/threads/shared-ring.js';

/** What a record is about. */
export const KIND = {
  /** A packet left through the tunnel. */
  out: 1,
  /** A packet came through the tunnel. */
  in: 2,
  /** The listener learned the outer address of this packet's source. */
  learned: 3,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

/** One record: kind u32, length of the packet u32, outer socket address 28 bytes, the packet's first bytes. */
const RECORD = { kind: 0, length: 4, outer: 8, outerLength: 28, head: 36, size: 128 } as const;

/** How many bytes of a packet a record holds: enough for IPv6 and TCP headers. */
const HEAD_LENGTH = RECORD.size - RECORD.head;

const RECORDS = 1024;

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
 * The worker's report to the main thread about packets. When the reader is too slow, records are lost and counted;
 * packets never wait for it.
 */
export class PacketLog {
  readonly buffers: { readonly ring: SharedArrayBuffer; readonly missed: SharedArrayBuffer };
  readonly #ring: SharedRing;
  readonly #missed: Int32Array;

  /** @param buffers the other thread's; new ones unless given */
  constructor(buffers?: PacketLog['buffers']) {
    this.#ring = new SharedRing(RECORD.size, RECORDS, buffers?.ring);
    this.buffers = { ring: this.#ring.buffer, missed: buffers?.missed ?? new SharedArrayBuffer(4) };
    this.#missed = new Int32Array(this.buffers.missed);
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
    const ring = this.#ring;
    const at = ring.claim();
    if (at < 0) {
      Atomics.add(this.#missed, 0, 1);
      return;
    }
    ring.view.setUint32(at + RECORD.kind, kind);
    ring.view.setUint32(at + RECORD.length, length);
    for (let i = 0; i < RECORD.outerLength; i++) ring.bytes[at + RECORD.outer + i] = outerBytes[outer + i]!;
    const head = Math.min(length, HEAD_LENGTH);
    for (let i = 0; i < head; i++) ring.bytes[at + RECORD.head + i] = bytes[packet + i]!;
    ring.commit();
  }

  /** Takes the next record. @returns undefined when there is none */
  read(): LogRecord | undefined {
    const at = this.#ring.peek();
    if (at < 0) return undefined;
    const copy = new Uint8Array(RECORD.size);
    copy.set(this.#ring.bytes.subarray(at, at + RECORD.size));
    this.#ring.release(); // from here on the worker may overwrite it
    const view = new DataView(copy.buffer);
    const length = view.getUint32(RECORD.length);
    return {
      kind: view.getUint32(RECORD.kind) as Kind,
      length,
      outer: new DataView(copy.buffer, RECORD.outer, RECORD.outerLength),
      head: copy.subarray(RECORD.head, RECORD.head + Math.min(length, HEAD_LENGTH)),
    };
  }

  /** How many records were lost, modulo 2^32. */
  get missed(): number {
    return Atomics.load(this.#missed, 0);
  }
}
