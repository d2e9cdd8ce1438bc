import { ERRNO } from '../../linux/ffi/errno.js';
import type { Memory } from '../../linux/ffi/memory.js';
import { POLL, Poller } from '../../linux/threads/poll.js';
import { RunSender, sendDrop } from '../../packets/run-sender.js';
import { ENDPOINT } from '../../packets/udp-batch.js';
import { RELAY_FRAME } from '../../protocol/relay.js';
import { AT, type Counters } from './counters.js';

/** How long to wait for a full socket, ms. A longer wait would only lose later frames instead. */
const PATIENCE = 5;

/**
 * Sends frames to members from where they are in memory. Nothing waits after `flush`: frames that the kernel does not
 * accept are dropped and counted.
 */
export class Sender {
  readonly #fd: number;
  readonly #endpoints: Memory;
  readonly #counters: Counters;
  readonly #runs: RunSender;
  readonly #writable: Poller;
  /** Frames added since the last flush, and their bytes with headers. */
  #frames = 0;
  #bytes = 0;

  constructor(fd: number, endpoints: Memory, counters: Counters, sendsRuns: boolean) {
    this.#fd = fd;
    this.#endpoints = endpoints;
    this.#counters = counters;
    this.#runs = new RunSender(sendsRuns, (errno, frames, bytes) => {
      this.#count(-frames, -bytes);
      counters.add(AT[sendDrop(errno)], frames);
    });
    this.#writable = new Poller([fd]);
    this.#writable.watch(0, POLL.out);
  }

  /** @param at where in `memory` the frame begins, which stays there until `flush` */
  add(row: number, memory: Memory, at: number, length: number, ecn: number): void {
    if (this.#runs.room === 0) this.flush();
    this.#runs.add(memory, at, length, this.#endpoints, row * ENDPOINT.size, ecn);
    this.#frames++;
    this.#bytes += length;
  }

  /** Sends all frames that were added. */
  flush(): void {
    this.#count(this.#frames, this.#bytes);
    this.#frames = this.#bytes = 0;
    let waitedFor = 0;
    while (this.#runs.flush(this.#fd)) {
      if (this.#runs.pending === waitedFor) this.#runs.dropAll(ERRNO.EAGAIN);
      else this.#writable.wait(PATIENCE);
      waitedFor = this.#runs.pending;
    }
  }

  /** @param bytes with the frames' headers */
  #count(frames: number, bytes: number): void {
    this.#counters.add(AT['udp-frames-out'], frames);
    this.#counters.add(AT['udp-bytes-out'], bytes - frames * RELAY_FRAME.payload);
  }
}
