import type { LessonEvent } from './events.js';

/** Silent reading of English non-fiction: 238 words a minute (Brysbaert 2019, doi:10.1016/j.jml.2019.104047). */
const WORD = 60_000 / 240;
/** A look at a picture, and at a line that was typed or that a program printed. Milliseconds. */
const PICTURE = 3000;
const LINE = 500;
/** No wait goes on longer than this after the start, pauses aside: the lesson ends within three minutes. */
export const LATEST = 175_000;

/** @returns the milliseconds that a person needs to read what an event shows */
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
 * When the lesson goes on. Tell it what was `shown` and which keys were pressed; ask it how much is `left` to wait.
 * All times are milliseconds of any clock that never goes back.
 */
export class Pace {
  readonly #step: boolean;
  #due: number;
  #latest: number;
  #pausedAt: number | undefined;

  /** @param step whether to wait for a key at each stop, for ever */
  constructor(now: number, step: boolean) {
    this.#step = step;
    this.#due = now;
    this.#latest = step ? Number.POSITIVE_INFINITY : now + LATEST;
  }

  /** Reading begins when the reader has finished what was shown before; in a pause nobody reads. */
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

  /** Space: stands still, or goes on. With `step`, it goes on in any case. */
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
