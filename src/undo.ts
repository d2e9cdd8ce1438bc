type Step = () => void | Promise<void>;

/** Steps to undo at the end, the latest first. */
export class UndoStack {
  readonly #steps: Step[] = [];
  readonly #onError: ((error: Error) => void) | undefined;
  #undone: Promise<void> | undefined;

  /** @param onError gets the errors of steps; without it, `undo` throws the first one */
  constructor(onError?: (error: Error) => void) {
    this.#onError = onError;
  }

  push(...steps: Step[]): void {
    this.#steps.push(...steps);
  }

  /**
   * Undoes everything once, however often it is called. A failed step does not prevent the others. Synchronous steps
   * are done before this returns, up to the first asynchronous one.
   */
  undo(): Promise<void> {
    this.#undone ??= this.#undo();
    return this.#undone;
  }

  async #undo(): Promise<void> {
    const errors: Error[] = [];
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        const done = step();
        if (done instanceof Promise) await done;
      } catch (error) {
        if (this.#onError) this.#onError(error as Error);
        else errors.push(error as Error);
      }
    }
    if (errors[0] !== undefined) throw errors[0];
  }
}
