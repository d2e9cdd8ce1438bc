/** Lines to write without a stop. */
export interface Part {
  /** Whether they begin a screen. */
  readonly fresh: boolean;
  readonly lines: readonly string[];
}

/** Cuts the lesson into screens. */
export class Pages {
  #used = 0;

  /** How many lines of the screen are used. */
  get used(): number {
    return this.#used;
  }

  /**
   * Places lines that belong together: on this screen if they fit, otherwise on the next one. It splits only what is
   * longer than a whole screen.
   *
   * @param rows of a screen
   * @param fresh whether they begin a screen in any case
   */
  place(lines: readonly string[], rows: number, fresh: boolean): Part[] {
    if (!fresh && this.#used > 0 && this.#used + lines.length <= rows) {
      this.#used += lines.length;
      return [{ fresh: false, lines }];
    }
    const content = lines.slice(lines.findIndex((line) => line.trim() !== '')); // no blank line at the top
    const parts: Part[] = [];
    for (let from = 0; from < content.length; from += rows) {
      parts.push({ fresh: from > 0 || this.#used > 0, lines: content.slice(from, from + rows) });
    }
    this.#used = parts.at(-1)?.lines.length ?? this.#used;
    return parts;
  }
}
