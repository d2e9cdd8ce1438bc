/** What a sans-I/O machine wants done, in its order. It allocates nothing once it has been as long as it gets. */
export class EventQueue<T> {
  readonly #events: T[] = [];
  #next = 0;

  push(event: T): void {
    this.#events.push(event);
  }

  /** The oldest; undefined when all were taken. */
  poll(): T | undefined {
    const event = this.#events[this.#next++];
    if (event === undefined) {
      this.#events.length = 0;
      this.#next = 0;
    }
    return event;
  }
}
