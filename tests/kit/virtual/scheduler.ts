import type { Scheduler } from '../../../src/hub/machine/scheduler.js';

/** A scheduler whose time moves only when the test runs it. */
export class VirtualScheduler implements Scheduler {
  time = 0;
  #queue: { readonly at: number; readonly fn: () => void }[] = [];
  now = (): number => this.time;
  soon = (fn: () => void): void => this.later(fn, 0);
  later = (fn: () => void, milliseconds: number): void => {
    const entry = { at: this.time + milliseconds, fn };
    const place = this.#queue.findLastIndex(({ at }) => at <= entry.at) + 1;
    this.#queue.splice(place, 0, entry);
  };

  /** When the next thing is due; infinity when nothing is. */
  get next(): number {
    return this.#queue[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Does what is due until then, in order. */
  run(until = this.time): void {
    while (this.next <= until) {
      const { at, fn } = this.#queue.shift()!;
      this.time = Math.max(this.time, at);
      fn();
    }
    this.time = Math.max(this.time, until);
  }
}
