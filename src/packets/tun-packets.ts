import type { Sum } from '../ip/checksum.js';
import { Coalescer, MAX_SEGMENTS } from '../ip/coalesce.js';
import { Segmenter } from '../ip/segment.js';
import { VIRTIO } from '../ip/virtio.js';
import { errno, libc } from '../linux/ffi/libc.js';
import { allocate, type Memory, writeUint64 } from '../linux/ffi/memory.js';
import type { Offloads } from '../linux/tun/tun.js';
import { IOVEC } from './udp-batch.js';

/** The largest IP packet. */
const MAX_PACKET = 65_535;

/**
 * Reads packets from a TUN device. On a device with offloads, one read(2) returns up to 64 KB of a stream, which is
 * segmented here as a network card would do it.
 */
export class TunReader {
  /** Where the packet begins in the arena, and its length. It stays there until the next call of `next`. */
  packet = 0;
  length = 0;
  readonly #fd: number;
  readonly #address: number;
  readonly #at: number;
  readonly #segmenter: Segmenter | undefined;
  #unread = false;

  /** Bytes of the arena that a reader needs. */
  static readonly size = VIRTIO.length + MAX_PACKET;

  /** @param at where in the arena to read to */
  constructor(fd: number, { virtioHeader }: Offloads, arena: Memory, at: number, sum: Sum) {
    this.#fd = fd;
    this.#address = arena.address + at;
    this.#at = at;
    this.#segmenter = virtioHeader ? new Segmenter(arena, sum) : undefined;
  }

  /**
   * Reads once.
   *
   * @returns how many packets `next` will give; 0 for a malformed one; the errno as a negative number
   */
  read(): number {
    const length = libc.read(this.#fd, this.#address, TunReader.size);
    if (length < 0) return -errno();
    if (this.#segmenter !== undefined) return this.#segmenter.start(this.#at, length);
    this.packet = this.#at;
    this.length = length;
    this.#unread = true;
    return 1;
  }

  /** Moves on to the next packet. @returns false when there is none */
  next(): boolean {
    const segmenter = this.#segmenter;
    if (segmenter === undefined) {
      const unread = this.#unread;
      this.#unread = false;
      return unread;
    }
    if (!segmenter.next()) return false;
    this.packet = segmenter.packet;
    this.length = segmenter.length;
    return true;
  }
}

/**
 * Writes packets to a TUN device. On a device with offloads, consecutive packets of one stream are merged, so that the
 * kernel has less to do; `Coalescer` has the rules.
 */
export class TunWriter {
  /** Packets and bytes that the kernel accepted since these were last set to zero, and packets that it refused. */
  packets = 0;
  bytes = 0;
  refused = 0;
  /** The errno of the last refusal. */
  error = 0;
  readonly #fd: number;
  readonly #arena: Memory;
  readonly #coalescer: Coalescer | undefined = undefined;
  readonly #vectors = allocate(MAX_SEGMENTS * IOVEC.size);

  constructor(fd: number, { virtioHeader, tcp, udp }: Offloads, arena: Memory, sum: Sum) {
    this.#fd = fd;
    this.#arena = arena;
    if (!virtioHeader) return;
    this.#coalescer = new Coalescer(arena, sum, { tcp, udp });
    this.#coalescer.begin();
  }

  /**
   * Takes a whole IP packet in the arena, which must stay there until `flush`. That may overwrite what is in front of
   * the packet: 10 bytes, or the end of the packet before it.
   */
  add(packet: number, length: number): void {
    const coalescer = this.#coalescer;
    if (coalescer === undefined) {
      this.#count(1, length, libc.write(this.#fd, this.#arena.address + packet, length));
    } else if (!coalescer.add(packet, length)) {
      this.flush();
      coalescer.add(packet, length);
    }
  }

  /** Writes all packets that wait. */
  flush(): void {
    const coalescer = this.#coalescer;
    if (coalescer === undefined) return;
    coalescer.arrange();
    for (let group = 0; group < coalescer.groupCount; group++) {
      coalescer.prepare(group);
      const pieces = coalescer.pieceCount(group);
      this.#count(pieces, coalescer.packetBytes(group), this.#write(coalescer, group, pieces));
    }
    coalescer.begin();
  }

  #write(coalescer: Coalescer, group: number, pieces: number): number {
    const { view, address } = this.#vectors;
    for (let i = 0; i < pieces; i++) {
      const base = this.#arena.address + coalescer.pieceOffset(group, i);
      writeUint64(view, i * IOVEC.size + IOVEC.base, base);
      view.setUint32(i * IOVEC.size + IOVEC.length, coalescer.pieceLength(group, i), true);
    }
    return libc.writev(this.#fd, address, pieces);
  }

  #count(packets: number, bytes: number, result: number): void {
    if (result < 0) {
      this.error = errno();
      this.refused += packets;
    } else {
      this.packets += packets;
      this.bytes += bytes;
    }
  }
}
