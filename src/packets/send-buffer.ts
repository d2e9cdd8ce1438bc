import type { Memory } from '../linux/ffi/memory.js';
import { type OnRefused, RUN_SEGMENTS, RunSender } from './run-sender.js';

/** Room for datagrams, and how full it may get before they should be sent: the other side shall not wait for us. */
const ROOM = 512 * 1024;
const ENOUGH = 96 * 1024;

/** A `RunSender` with memory in which datagrams are written, one behind the other. */
export class SendBuffer extends RunSender {
  readonly memory: Memory;
  readonly #begin: number;
  #end: number;

  /** Bytes of memory that the datagrams need. */
  static readonly size = ROOM;

  /** @param begin where in `memory` their room begins */
  constructor(memory: Memory, begin: number, sendsRuns: boolean, onRefused: OnRefused) {
    super(sendsRuns, onRefused);
    this.memory = memory;
    this.#begin = this.#end = begin;
  }

  /** Where in the memory the next datagram is to be written. */
  get end(): number {
    return this.#end;
  }

  /** Whether there is so much that it should be sent first. */
  get enough(): boolean {
    return this.#end - this.#begin >= ENOUGH || this.room < RUN_SEGMENTS;
  }

  /** Whether there is room for so many bytes of so many datagrams. */
  fits(bytes: number, datagrams: number): boolean {
    return this.#end + bytes <= this.#begin + ROOM && this.room >= datagrams;
  }

  /** Adds the datagram that was written to `end`: see `add`. */
  append(length: number, endpoints: Memory, endpoint: number, trafficClass: number): void {
    this.add(this.memory, this.#end, length, endpoints, endpoint, trafficClass);
    this.#end += length;
  }

  override flush(fd: number): boolean {
    const full = super.flush(fd);
    if (!full) this.#end = this.#begin;
    return full;
  }
}
