interface Entry {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** What is to happen, and when: a clock that moves from one event to the next. Events of one moment keep their order. */
export class Agenda {
  /** Milliseconds; never 0. */
  now = 1_000;
  readonly #heap: Entry[] = [];
  #order = 0;

  /** When the next event is due; infinity when there is none. */
  get next(): number {
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  after(milliseconds: number, run: () => void): void {
    this.at(this.now + milliseconds, run);
  }

  at(at: number, run: () => void): void {
    const heap = this.#heap;
    const entry = { at: Math.max(at, this.now), order: this.#order++, run };
    let i = heap.length;
    for (; i > 0; i = (i - 1) >> 1) {
      const parent = heap[(i - 1) >> 1]!;
      if (!isBefore(entry, parent)) break;
      heap[i] = parent;
    }
    heap[i] = entry;
  }

  /** Moves the clock to the next event, and lets it happen. */
  step(): void {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length > 0) {
      let i = 0;
      for (;;) {
        let child = 2 * i + 1;
        if (child >= heap.length) break;
        if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
        if (!isBefore(heap[child]!, last)) break;
        heap[i] = heap[child]!;
        i = child;
      }
      heap[i] = last;
    }
    this.now = first.at;
    first.run();
  }
}

const isBefore = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
