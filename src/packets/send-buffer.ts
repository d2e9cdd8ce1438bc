import type { Memory } from '../linux/ffi/memory.js';
import { type OnRefused, RUN_SEGMENTS, RunSender } from './run-sender.js';

/** Bytes of memory for datagrams, and the fill level at which to send them, so that receivers do not wait. */
const ROOM = 512 * 1024;
const ENOUGH = 96 * 1024;

/** A `RunSender` with memory in which datagrams are written one after the other. */
export class SendBuffer extends RunSender {
  readonly memory: Memory;
  readonly #begin: number;
  #end: number;

  /** Bytes of memory that a buffer needs. */
  static readonly size = ROOM;

  /** @param begin where in `memory` the buffer begins */
  constructor(memory: Memory, begin: number, sendsRuns: boolean, onRefused: OnRefused) {
    super(sendsRuns, onRefused);
    this.memory = memory;
    this.#begin = this.#end = begin;
  }

  /** Where in the memory to write the next datagram. */
  get end(): number {
    return this.#end;
  }

  /** Whether the buffer is full enough to be sent. */
  get enough(): boolean {
    return this.#end - this.#begin >= ENOUGH || this.room < RUN_SEGMENTS;
  }

  /** Whether there is room for this many bytes in this many datagrams. */
  fits(bytes: number, datagrams: number): boolean {
    return this.#end + bytes <= this.#begin + ROOM && this.room >= datagrams;
  }

  /** Adds the datagram that was written at `end`: see `add`. */
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
