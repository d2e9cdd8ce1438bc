import { ERRNO } from '../linux/ffi/errno.js';
import type { Memory } from '../linux/ffi/memory.js';
import { SendBatch } from './send-batch.js';
import { ENDPOINT } from './udp-batch.js';

/** The most messages, datagrams or runs, that one system call sends. */
const BATCH = 1024;

/** UDP_MAX_SEGMENTS of older kernels; and the length above which the kernel splits a run in software. */
export const RUN_SEGMENTS = 64;
const RUN_BYTES = 65_440;

/**
 * After a path refuses a run, this many datagrams of that size go one by one. Then a run is tried again, because the
 * path's MTU may have grown. One failed call in so many costs nothing.
 */
const BELIEVED = 0xffff;

/** What kernels of different ages report when the source address no longer exists. */
const SOURCE_GONE: ReadonlySet<number> = new Set([ERRNO.EINVAL, ERRNO.EADDRNOTAVAIL, ERRNO.ENETUNREACH]);

/** Errors after which the datagrams of a run may still pass one by one. */
const NOT_AS_RUN: ReadonlySet<number> = new Set([ERRNO.EIO, ERRNO.EINVAL, ERRNO.EMSGSIZE]);

/** Why a datagram that the kernel refused was dropped. */
export type SendDrop = 'too-big' | 'congested' | 'unreachable';

export function sendDrop(errno: number): SendDrop {
  if (errno === ERRNO.EMSGSIZE) return 'too-big';
  return errno === ERRNO.ENOBUFS || errno === ERRNO.EAGAIN ? 'congested' : 'unreachable';
}

/**
 * Called when the kernel refuses to send.
 *
 * @param datagrams how many are lost; 0 when they are tried again
 * @param bytes their length in total
 */
export type OnRefused = (errno: number, datagrams: number, bytes: number) => void;

/**
 * Sends datagrams with as few system calls, and as little work for the kernel, as possible. Consecutive datagrams of
 * one size to one endpoint form a *run*: the kernel gets a run as one message and splits it as late as it can
 * (UDP_SEGMENT). A refused message does not hold up the messages behind it:
 *
 *   EAGAIN, the socket is full           everything left waits, in order
 *   ENOBUFS, the device's queue is full  the message is lost
 *   any other error                      the message is sent once more: the error may be about an earlier datagram (an
 *                                        ICMP message came back), or the source address may be gone
 *   a second error, for a run            its datagrams go one by one, and so do later ones of this size on this path
 *   a second error, for a datagram       the datagram is lost
 *
 * The caller adds no more than there is `room` for, and leaves the datagrams in place until `flush` returns false.
 */
export class RunSender {
  /** Whether the socket takes runs: `canSendSegments`. */
  sendsRuns: boolean;
  readonly #onRefused: OnRefused;
  readonly #batch = new SendBatch(BATCH);
  /** The datagrams of a refused run, to be sent before the batch. */
  readonly #singles = new SendBatch(RUN_SEGMENTS);
  /** The growing run: its memory, start and end; how many datagrams of what size; its endpoint. */
  #memory: Memory | undefined;
  #start = 0;
  #end = 0;
  #count = 0;
  #size = 0;
  #endpoints: Memory | undefined;
  #endpoint = 0;
  #trafficClass = 0;
  /** Whether the run may have one datagram only. */
  #alone = false;

  constructor(sendsRuns: boolean, onRefused: OnRefused) {
    this.sendsRuns = sendsRuns;
    this.#onRefused = onRefused;
  }

  /** How many datagrams or runs wait to be sent. */
  get pending(): number {
    return this.#singles.pending + this.#batch.pending + (this.#count > 0 ? 1 : 0);
  }

  /** How many datagrams may be added before the next `flush`. */
  get room(): number {
    return this.#batch.room - (this.#count > 0 ? 1 : 0);
  }

  /**
   * Adds a datagram.
   *
   * @param at where in `memory` it begins
   * @param endpoint offset of the `ENDPOINT` record in `endpoints`; a record without a name is for a connected socket
   * @param trafficClass (IPv4: type of service) for the outer header
   */
  add(
    memory: Memory,
    at: number,
    length: number,
    endpoints: Memory,
    endpoint: number,
    trafficClass: number,
  ): void {
    const fits =
      this.#count > 0 &&
      this.#end === at &&
      this.#endpoint === endpoint &&
      this.#trafficClass === trafficClass &&
      length <= this.#size &&
      this.#count < RUN_SEGMENTS &&
      at - this.#start + length <= RUN_BYTES &&
      this.#memory === memory &&
      this.#endpoints === endpoints;
    if (!fits) {
      this.#endRun();
      this.#memory = memory;
      this.#start = at;
      this.#size = length;
      this.#endpoints = endpoints;
      this.#endpoint = endpoint;
      this.#trafficClass = trafficClass;
      this.#alone = !this.sendsRuns || goesAlone(endpoints, endpoint, length);
    }
    this.#count++;
    this.#end = at + length;
    // A shorter datagram can only be the last.
    if (length < this.#size || this.#alone) this.#endRun();
  }

  /** Moves the growing run to the batch. */
  #endRun(): void {
    if (this.#count === 0) return;
    const data = this.#memory!.address + this.#start;
    const length = this.#end - this.#start;
    this.#batch.addRun(data, length, this.#size, this.#endpoints!, this.#endpoint, this.#trafficClass);
    this.#count = 0;
  }

  /** Sends everything that was added. @returns whether the socket is full, and some of it waits */
  flush(fd: number): boolean {
    this.#endRun();
    let again = false;
    while (this.pending > 0) {
      const batch = this.#next;
      const before = batch.pending;
      const errno = batch.flush(fd);
      if (batch.pending !== before) again = false;
      if (errno === 0 || errno === ERRNO.EINTR) continue;
      if (errno === ERRNO.EAGAIN) {
        this.#singles.keepAddresses();
        this.#batch.keepAddresses();
        return true;
      }
      const singly = batch.isRun && NOT_AS_RUN.has(errno);
      again = !again && errno !== ERRNO.ENOBUFS;
      if (again) {
        if (SOURCE_GONE.has(errno)) batch.unpinSource();
        if (!singly) this.#onRefused(errno, 0, 0);
      } else if (singly) this.#sendSingly(errno);
      else this.#drop(batch, errno);
    }
    return false;
  }

  /** Drops everything that waits, as if the kernel had refused it. */
  dropAll(errno: number): void {
    this.#endRun();
    while (this.pending > 0) this.#drop(this.#next, errno);
  }

  get #next(): SendBatch {
    return this.#singles.pending > 0 ? this.#singles : this.#batch;
  }

  #drop(batch: SendBatch, errno: number): void {
    const length = batch.firstLength;
    this.#onRefused(errno, Math.ceil(length / batch.firstSegment), length);
    batch.skip();
  }

  /** Splits the first run, and remembers that its path refused it. */
  #sendSingly(errno: number): void {
    const batch = this.#batch;
    // EIO: the device has no checksum offload, so it takes no runs. Otherwise the datagrams exceed the path's MTU.
    const size = errno === ERRNO.EIO ? 1 : batch.firstSegment;
    const { view } = batch.firstEndpoints;
    const from = batch.firstEndpoint + ENDPOINT.aloneFrom;
    const before = view.getUint16(from, true);
    view.setUint16(from, before === 0 ? size : Math.min(before, size), true);
    view.setUint16(batch.firstEndpoint + ENDPOINT.aloneLeft, BELIEVED, true);
    batch.splitFirst(this.#singles);
  }
}

/** Whether the path has refused runs of this size. */
function goesAlone({ view }: Memory, endpoint: number, length: number): boolean {
  const from = view.getUint16(endpoint + ENDPOINT.aloneFrom, true);
  if (from === 0 || length < from) return false;
  const left = view.getUint16(endpoint + ENDPOINT.aloneLeft, true) - 1;
  view.setUint16(endpoint + ENDPOINT.aloneLeft, left, true);
  if (left === 0) view.setUint16(endpoint + ENDPOINT.aloneFrom, 0, true);
  return true;
}
