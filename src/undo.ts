type Step = () => void | Promise<void>;

/** What has to be undone at the end, the latest first. */
export class UndoStack {
  readonly #steps: Step[] = [];
  readonly #onError: ((error: Error) => void) | undefined;
  #undone: Promise<void> | undefined;

  /** @param onError gets what a step throws; without it, `undo` throws the first of these */
  constructor(onError?: (error: Error) => void) {
    this.#onError = onError;
  }

  push(...steps: Step[]): void {
    this.#steps.push(...steps);
  }

  /**
   * Undoes everything once, however often it is called. A step that fails does not keep the others from being tried.
   * Steps that are synchronous are done before this returns, up to the first that is not.
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
