import { ERRNO } from '../../linux/ffi/errno.js';
import type { Memory } from '../../linux/ffi/memory.js';
import { POLL, Poller } from '../../linux/threads/poll.js';
import { SendBatch } from '../../packets/send-batch.js';
import { ENDPOINT } from '../../packets/udp-batch.js';
import { RELAY_FRAME } from '../../protocol/relay.js';
import { AT, type Counters } from './counters.js';

/** How many runs go with one system call at most. */
const RUNS = 1024;

/** What the kernel takes for one run: segments, UDP_MAX_SEGMENTS of older kernels, and bytes (65440 in one go). */
const RUN_SEGMENTS = 64;
const RUN_BYTES = 65_440;

/** How long a full socket is waited for, ms: longer, and what comes meanwhile is lost in its place. */
const PATIENCE = 5;

/** Errors that tell of an address of ours that is gone, as kernels of different age report it. */
const SOURCE_GONE: ReadonlySet<number> = new Set([ERRNO.EINVAL, ERRNO.EADDRNOTAVAIL, ERRNO.ENETUNREACH]);

/** Errors for which a run may still pass datagram by datagram. */
const NOT_AS_RUN: ReadonlySet<number> = new Set([ERRNO.EIO, ERRNO.EINVAL, ERRNO.EMSGSIZE]);

/**
 * Sends frames to members, where they lie in memory: those of one size for one member that lie behind each other as one
 * run. Nothing waits beyond `flush`: what the kernel does not take is dropped and counted.
 */
export class Sender {
  readonly #fd: number;
  readonly #endpoints: Memory;
  readonly #counters: Counters;
  readonly #batch = new SendBatch(RUNS);
  /** How many frames each run of the batch has, and how many runs it has had. */
  readonly #frames = new Int32Array(RUNS);
  #added = 0;
  readonly #writable: Poller;
  #sendsSegments: boolean;
  /** The run that grows: for whom, its address, its bytes, the size of its frames, how many they are. */
  #row = -1;
  #start = 0;
  #length = 0;
  #size = 0;
  #count = 0;
  #ecn = 0;

  constructor(fd: number, endpoints: Memory, counters: Counters, sendsSegments: boolean) {
    this.#fd = fd;
    this.#endpoints = endpoints;
    this.#counters = counters;
    this.#sendsSegments = sendsSegments;
    this.#writable = new Poller([fd]);
    this.#writable.watch(0, POLL.out);
  }

  /** @param data address of the frame, which stays there until `flush` */
  add(row: number, data: number, length: number, ecn: number): void {
    const fits =
      this.#row === row &&
      data === this.#start + this.#length &&
      ecn === this.#ecn &&
      length <= this.#size &&
      this.#count < RUN_SEGMENTS &&
      this.#length + length <= RUN_BYTES;
    if (!fits) {
      this.endRun();
      this.#row = row;
      this.#start = data;
      this.#size = length;
      this.#ecn = ecn;
    }
    this.#count++;
    this.#length += length;
    // A shorter one can only be the last.
    if (length < this.#size || !this.#sendsSegments) this.endRun();
  }

  endRun(): void {
    const row = this.#row;
    if (row < 0) return;
    if (this.#batch.full) this.#send();
    this.#frames[this.#added++] = this.#count;
    const endpoint = row * ENDPOINT.size;
    this.#batch.addRun(this.#start, this.#length, this.#size, this.#endpoints, endpoint, this.#ecn);
    this.#counters.add(AT['udp-frames-out'], this.#count);
    this.#counters.add(AT['udp-bytes-out'], this.#length - this.#count * RELAY_FRAME.payload);
    this.#row = -1;
    this.#length = this.#count = 0;
  }

  /** Sends all that was added. */
  flush(): void {
    this.endRun();
    if (this.#batch.pending > 0) this.#send();
  }

  #send(): void {
    const batch = this.#batch;
    let waited = false;
    let pinned = true;
    while (batch.pending > 0) {
      const before = batch.pending;
      const number = batch.flush(this.#fd);
      if (number === 0) break;
      if (number === ERRNO.EINTR) continue;
      if (batch.pending !== before) {
        pinned = true;
        waited = false;
      }
      if (number === ERRNO.EAGAIN && !waited) {
        waited = true;
        this.#writable.wait(PATIENCE);
      } else if (pinned && SOURCE_GONE.has(number)) {
        pinned = false;
        batch.unpinSource();
      } else if (batch.isRun && NOT_AS_RUN.has(number)) {
        if (number === ERRNO.EIO) this.#sendsSegments = false; // no checksum offload on this path
        pinned = true;
        batch.sendRunSingly(this.#fd);
      } else {
        pinned = true;
        this.#drop(number);
      }
    }
    this.#added = 0;
  }

  /** Gives up the first run that waits. */
  #drop(number: number): void {
    const counters = this.#counters;
    const frames = this.#frames[this.#added - this.#batch.pending]!;
    const bytes = this.#batch.skip();
    counters.add(AT['udp-frames-out'], -frames);
    counters.add(AT['udp-bytes-out'], frames * RELAY_FRAME.payload - bytes);
    if (number === ERRNO.EMSGSIZE) counters.add(AT['too-big'], frames);
    else if (number === ERRNO.EAGAIN || number === ERRNO.ENOBUFS) counters.add(AT.congested, frames);
    else counters.add(AT.unreachable, frames);
  }
}
