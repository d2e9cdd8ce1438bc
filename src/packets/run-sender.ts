import { ERRNO } from '../linux/ffi/errno.js';
import type { Memory } from '../linux/ffi/memory.js';
import { SendBatch } from './send-batch.js';
import { ENDPOINT } from './udp-batch.js';

/** How many datagrams or runs go with one system call at most. */
const BATCH = 1024;

/** What the kernel takes for one run: UDP_MAX_SEGMENTS of older kernels; and what it does not cut up in software. */
export const RUN_SEGMENTS = 64;
const RUN_BYTES = 65_440;

/**
 * A path that has refused a run gets datagrams of that size one by one, and after so many the next run: its MTU may have
 * grown. One failed call in so many costs nothing.
 */
const BELIEVED = 0xffff;

/** Errors that tell of an address of ours that is gone, as kernels of different age report it. */
const SOURCE_GONE: ReadonlySet<number> = new Set([ERRNO.EINVAL, ERRNO.EADDRNOTAVAIL, ERRNO.ENETUNREACH]);

/** Errors for which a run may still pass datagram by datagram. */
const NOT_AS_RUN: ReadonlySet<number> = new Set([ERRNO.EIO, ERRNO.EINVAL, ERRNO.EMSGSIZE]);

/** Why a datagram that the kernel refused was dropped. */
export type SendDrop = 'too-big' | 'congested' | 'unreachable';

export function sendDrop(errno: number): SendDrop {
  if (errno === ERRNO.EMSGSIZE) return 'too-big';
  return errno === ERRNO.ENOBUFS || errno === ERRNO.EAGAIN ? 'congested' : 'unreachable';
}

/**
 * Hears that the kernel refused to send.
 *
 * @param datagrams how many are lost by that; 0 when they are tried again
 * @param bytes how many bytes they have
 */
export type OnRefused = (errno: number, datagrams: number, bytes: number) => void;

/**
 * Sends datagrams with as few system calls, and as little work for the kernel, as possible. Those of one size for one
 * endpoint that lie one behind the other are a *run*: the kernel is given it in one piece, and cuts it up as late as it
 * can (UDP_SEGMENT). What the kernel refuses does not hold up what is behind it:
 *
 *   the socket is full (EAGAIN)      all that is left waits, in order
 *   the queue behind it is (ENOBUFS) the message is lost
 *   anything else                    the message is tried once more: the error may be about an earlier datagram (an ICMP
 *                                    message came back), or about an address of ours that is gone
 *   and again, a run                 its datagrams go one by one, and so do later ones of this size on this path
 *   and again, a datagram            it is lost
 *
 * The caller adds no more than there is `room` for, and leaves what it added where it is until `flush` returns false.
 */
export class RunSender {
  /** Whether the socket takes runs: `canSendSegments`. */
  sendsRuns: boolean;
  readonly #onRefused: OnRefused;
  readonly #batch = new SendBatch(BATCH);
  /** The datagrams of a run that was refused: they go before the batch. */
  readonly #singles = new SendBatch(RUN_SEGMENTS);
  /** The run that grows: where it begins and ends, how many datagrams of what size, for whom; whether it is complete. */
  #memory: Memory | undefined;
  #start = 0;
  #end = 0;
  #count = 0;
  #size = 0;
  #endpoints: Memory | undefined;
  #endpoint = 0;
  #trafficClass = 0;
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
   * @param endpoint offset of the `ENDPOINT` record in `endpoints`; one without a name is whom the socket is connected to
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
    // A shorter one can only be the last.
    if (length < this.#size || this.#alone) this.#endRun();
  }

  /** Hands the run that grows to the batch. */
  #endRun(): void {
    if (this.#count === 0) return;
    const data = this.#memory!.address + this.#start;
    const length = this.#end - this.#start;
    this.#batch.addRun(data, length, this.#size, this.#endpoints!, this.#endpoint, this.#trafficClass);
    this.#count = 0;
  }

  /** Sends what was added. @returns whether the socket is full, and some of it waits */
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

  /** Gives up all that waits, as if the kernel had refused it. */
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

  /** Takes the first run apart, and remembers that its path does not take it. */
  #sendSingly(errno: number): void {
    const batch = this.#batch;
    // The way out sums no checksums, so no runs at all; or else these do not fit it, and travel in fragments.
    const size = errno === ERRNO.EIO ? 1 : batch.firstSegment;
    const { view } = batch.firstEndpoints;
    const from = batch.firstEndpoint + ENDPOINT.aloneFrom;
    const before = view.getUint16(from, true);
    view.setUint16(from, before === 0 ? size : Math.min(before, size), true);
    view.setUint16(batch.firstEndpoint + ENDPOINT.aloneLeft, BELIEVED, true);
    batch.splitFirst(this.#singles);
  }
}

/** Whether a path has refused runs of datagrams of this size. */
function goesAlone({ view }: Memory, endpoint: number, length: number): boolean {
  const from = view.getUint16(endpoint + ENDPOINT.aloneFrom, true);
  if (from === 0 || length < from) return false;
  const left = view.getUint16(endpoint + ENDPOINT.aloneLeft, true) - 1;
  view.setUint16(endpoint + ENDPOINT.aloneLeft, left, true);
  if (left === 0) view.setUint16(endpoint + ENDPOINT.aloneFrom, 0, true);
  return true;
}
