import type { LessonEvent } from './events.js';

/** Silent reading of English non-fiction: 238 words a minute (Brysbaert 2019, doi:10.1016/j.jml.2019.104047). */
const WORD = 60_000 / 240;
/** For a picture, and for a line that was typed or printed. Milliseconds. */
const PICTURE = 3000;
const LINE = 500;
/** No wait lasts longer than until this time after the start, not counting pauses. So the lesson ends in three minutes. */
export const LATEST = 175_000;

/** @returns how long a person reads what an event shows, in milliseconds */
export function readingTime(event: LessonEvent): number {
  switch (event.kind) {
    case 'scene':
      return words(event.title);
    case 'text':
      return words(event.text);
    case 'command':
      return LINE;
    case 'output':
      return LINE * event.text.split('\n').length;
    case 'packet':
      return PICTURE + words((event.remarks ?? []).join(' '));
    case 'table':
      return PICTURE + LINE * event.rows.length;
    case 'drawing':
    case 'bytes':
      return PICTURE;
  }
}

const words = (text: string): number => text.split(/\s+/).filter((word) => word !== '').length * WORD;

/**
 * Decides when the lesson goes on. Tell it what was `shown` and which keys were pressed, and ask how long is `left`.
 * Times are milliseconds of any clock that never goes back.
 */
export class Pace {
  readonly #step: boolean;
  #due: number;
  #latest: number;
  #pausedAt: number | undefined;

  /** @param step whether to wait for a key at each screen, for ever */
  constructor(now: number, step: boolean) {
    this.#step = step;
    this.#due = now;
    this.#latest = step ? Number.POSITIVE_INFINITY : now + LATEST;
  }

  /** Reading begins when everything shown before has been read. Nobody reads during a pause. */
  shown(time: number, now: number): void {
    this.#due = Math.max(this.#due, this.#pausedAt ?? now) + (this.#step ? Number.POSITIVE_INFINITY : time);
  }

  /** @returns how long to wait before the next screen: infinite until a key is pressed */
  left(now: number): number {
    if (this.#pausedAt !== undefined) return Number.POSITIVE_INFINITY;
    return Math.max(0, Math.min(this.#due, this.#latest) - now);
  }

  get paused(): boolean {
    return this.#pausedAt !== undefined;
  }

  /** Enter: everything on the screen has been read. */
  skip(now: number): void {
    if (this.paused) this.#resume(now);
    this.#due = now;
  }

  /** Space: pauses, or continues. With `step` it is like Enter. */
  togglePause(now: number): void {
    if (this.#step) this.skip(now);
    else if (this.paused) this.#resume(now);
    else this.pause(now);
  }

  pause(now: number): void {
    if (!this.#step) this.#pausedAt ??= now;
  }

  #resume(now: number): void {
    const pause = now - (this.#pausedAt ?? now);
    this.#due = Math.max(this.#due, this.#pausedAt ?? now) + pause;
    this.#latest += pause;
    this.#pausedAt = undefined;
  }
}
