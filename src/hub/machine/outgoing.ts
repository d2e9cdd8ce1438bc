/** A connection that takes messages. */
export interface Sink {
  send(bytes: Uint8Array, taken: (error?: Error | null) => void): void;
}

/**
 * The most bytes in flight: handed to the connection, but not yet taken by the kernel. The rest waits here, as whole
 * messages.
 */
const IN_FLIGHT = 128 << 10;

interface Entry {
  readonly bytes: Uint8Array;
  readonly done: (() => void) | undefined;
}

/** A queue of sealed messages. */
export class Outgoing {
  readonly #sink: Sink;
  #queue: Entry[] = [];
  #next = 0;
  #length = 0;
  #inFlight = 0;
  /** Whether something was taken, or began to wait, since the last check. */
  #hasMoved = false;
  #stalledSince = 0;
  #flushed: (() => void) | undefined;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  /** Bytes that the kernel has not taken yet. */
  get length(): number {
    return this.#length;
  }

  /** How long messages have waited without the kernel taking any, milliseconds: noticed by calls of this method. */
  stalledFor(now: number): number {
    if (this.#length === 0 || this.#hasMoved) this.#stalledSince = now;
    this.#hasMoved = false;
    return now - this.#stalledSince;
  }

  /** @param done is called when the kernel has taken the last one, or never will */
  push(messages: readonly Uint8Array[], done?: () => void): void {
    if (this.#length === 0) this.#hasMoved = true;
    for (const [i, bytes] of messages.entries()) {
      this.#queue.push({ bytes, done: i === messages.length - 1 ? done : undefined });
      this.#length += bytes.length;
    }
    this.#pump();
  }

  /** Calls back when everything has been handed to the socket. */
  flush(then: () => void): void {
    if (this.#next === this.#queue.length) then();
    else this.#flushed = then;
  }

  /** Discards what waits. */
  drop(): void {
    const rest = this.#queue.slice(this.#next);
    this.#queue = [];
    this.#next = 0;
    this.#flushed = undefined;
    for (const { bytes, done } of rest) {
      this.#length -= bytes.length;
      done?.();
    }
  }

  #pump(): void {
    while (this.#next < this.#queue.length && this.#inFlight < IN_FLIGHT) {
      const { bytes, done } = this.#queue[this.#next++]!;
      this.#inFlight += bytes.length;
      this.#sink.send(bytes, (error) => this.#taken(bytes.length, done, error));
    }
    if (this.#next < this.#queue.length) return;
    this.#queue = [];
    this.#next = 0;
    const flushed = this.#flushed;
    this.#flushed = undefined;
    flushed?.();
  }

  #taken(length: number, done: (() => void) | undefined, error: Error | null | undefined): void {
    this.#inFlight -= length;
    this.#length -= length;
    this.#hasMoved = true;
    done?.();
    if (error === undefined || error === null) this.#pump();
    else this.drop(); // the connection is over
  }
}
