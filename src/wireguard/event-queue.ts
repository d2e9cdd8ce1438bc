/** The events of a sans-I/O machine, in order. It allocates only when it grows beyond its largest size so far. */
export class EventQueue<T> {
  readonly #events: T[] = [];
  #next = 0;

  push(event: T): void {
    this.#events.push(event);
  }

  /** Takes the oldest event; undefined when there is none. */
  poll(): T | undefined {
    if (this.#next < this.#events.length) return this.#events[this.#next++];
    if (this.#next > 0) this.#events.length = this.#next = 0;
    return undefined;
  }
}
