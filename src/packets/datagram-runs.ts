import { ERRNO } from '../linux/ffi/errno.js';
import type { Memory } from '../linux/ffi/memory.js';
import { SendBatch } from './send-batch.js';

/** Room for datagrams, and how full it may get before they are to be sent: the other side shall not wait for us. */
const ROOM = 512 * 1024;
const ENOUGH = 96 * 1024;

/** How many datagrams or runs go with one system call at most. */
const BATCH = 1024;

/** What the kernel takes for one run: UDP_MAX_SEGMENTS of older kernels; and what it does not cut up in software. */
const RUN_SEGMENTS = 64;
const RUN_BYTES = 65_440;

/** Errors for which a run may still pass datagram by datagram. */
const NOT_AS_RUN: ReadonlySet<number> = new Set([ERRNO.EIO, ERRNO.EINVAL, ERRNO.EMSGSIZE]);

/**
 * Datagrams that are written one behind the other, and leave with as few system calls, and as little work for the
 * kernel, as possible. Those of one size for one endpoint that follow each other are a *run*: the kernel is given it
 * in one piece, and cuts it up as late as it can (UDP_SEGMENT). Where it refuses that, they go one by one.
 */
export class DatagramRuns {
  /** What the last `skip` or `sendSingly` has lost. */
  lostDatagrams = 0;
  lostBytes = 0;
  readonly #arena: Memory;
  readonly #begin: number;
  readonly #batch = new SendBatch(BATCH);
  #end: number;
  /** Datagrams of this size and above go alone. */
  #aloneFrom: number;
  /** The run that grows: where it begins, the size of its datagrams, how many there are, and for whom. */
  #runStart: number;
  #runSize = 0;
  #runCount = 0;
  #runEndpoint = 0;
  #runEndpoints: Memory | undefined;

  /** Bytes of the arena that the datagrams need. */
  static readonly size = ROOM;

  /**
   * @param begin where in the arena their room begins
   * @param segments whether the socket takes runs: `canSendSegments`
   */
  constructor(arena: Memory, begin: number, segments: boolean) {
    this.#arena = arena;
    this.#begin = this.#end = this.#runStart = begin;
    this.#aloneFrom = segments ? Number.POSITIVE_INFINITY : 0;
  }

  /** Where in the arena the next datagram is to be written. */
  get end(): number {
    return this.#end;
  }

  /** Whether there is so much that it should be sent first. */
  get enough(): boolean {
    return this.#end - this.#begin >= ENOUGH || this.#batch.room < RUN_SEGMENTS;
  }

  /** Whether there is room for a datagram. */
  fits(length: number): boolean {
    return this.#end + length <= this.#begin + ROOM && this.#batch.room > 1;
  }

  /** How many datagrams or runs wait to be sent. */
  get pending(): number {
    return this.#batch.pending + (this.#runCount > 0 ? 1 : 0);
  }

  /**
   * Adds the datagram of `length` bytes that was written to `end`.
   *
   * @param endpoint offset of the `ENDPOINT` record in `endpoints`; one of zeros is whom the socket is connected to
   */
  add(length: number, endpoints: Memory, endpoint: number): void {
    const fits =
      this.#runCount > 0 &&
      this.#runEndpoint === endpoint &&
      this.#runEndpoints === endpoints &&
      length <= this.#runSize &&
      this.#runCount < RUN_SEGMENTS &&
      this.#end - this.#runStart + length <= RUN_BYTES;
    if (!fits) {
      this.#endRun();
      this.#runEndpoint = endpoint;
      this.#runEndpoints = endpoints;
      this.#runSize = length;
    }
    this.#runCount++;
    this.#end += length;
    // A shorter one can only be the last.
    if (length < this.#runSize || length >= this.#aloneFrom) this.#endRun();
  }

  /**
   * Sends what waits, in order, until all is sent or the kernel refuses something.
   *
   * @returns 0 when nothing waits any more, else the errno that the first that waits has met
   */
  flush(fd: number): number {
    this.#endRun();
    const number = this.#batch.flush(fd);
    this.#reuse();
    return number;
  }

  /** Whether what met an errno may still be sent by `sendSingly`. */
  mayPassSingly(number: number): boolean {
    return this.#batch.isRun && NOT_AS_RUN.has(number);
  }

  /** Sends the first run that waits datagram by datagram, and from now on all that are as large. */
  sendSingly(fd: number, number: number): void {
    const size = this.#batch.firstSegment;
    // No checksum offload on this path, so no runs at all; or else these do not fit it, and travel in fragments.
    this.#aloneFrom = number === ERRNO.EIO ? 0 : Math.min(this.#aloneFrom, size);
    this.lostBytes = this.#batch.sendRunSingly(fd);
    this.lostDatagrams = Math.ceil(this.lostBytes / size);
    this.#reuse();
  }

  /** Gives up the first that waits. */
  skip(): void {
    const size = this.#batch.firstSegment;
    this.lostBytes = this.#batch.skip();
    this.lostDatagrams = Math.ceil(this.lostBytes / size);
    this.#reuse();
  }

  /** See `SendBatch`. */
  unpinSource(): void {
    this.#batch.unpinSource();
  }

  /** See `SendBatch`. */
  keepAddresses(): void {
    this.#batch.keepAddresses();
  }

  #endRun(): void {
    if (this.#runCount > 0) {
      const data = this.#arena.address + this.#runStart;
      const length = this.#end - this.#runStart;
      this.#batch.addRun(data, length, this.#runSize, this.#runEndpoints!, this.#runEndpoint, 0);
    }
    this.#runStart = this.#end;
    this.#runCount = 0;
  }

  /** When all is sent, the room is free again. */
  #reuse(): void {
    if (this.#batch.pending === 0) this.#end = this.#runStart = this.#begin;
  }
}
