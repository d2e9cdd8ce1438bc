/** The signals that end the demo early, and the exit status that a shell expects after each. */
const STATUS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Thrown by `race` when the demo must end. */
class Stopped extends Error {}

/** Watches for signals, and for the reader of stdout to go away. From then on `race` fails at once. */
export class Stop {
  #status: number | undefined;
  readonly #controller = new AbortController();
  readonly #stopped: Promise<never>;
  readonly #onSignal = (signal: keyof typeof STATUS): void => this.end(STATUS[signal]);
  /** `lametun demo | head`: the reader has seen enough. That is no failure. */
  readonly #onOutputError = (): void => this.end(0);

  constructor() {
    this.#stopped = new Promise((_, reject) => {
      this.signal.addEventListener('abort', () => reject(new Stopped()));
    });
    this.#stopped.catch(() => {});
    for (const signal of Object.keys(STATUS)) process.on(signal, this.#onSignal);
    process.stdout.on('error', this.#onOutputError);
  }

  /** The exit status, once the demo must end. */
  get status(): number | undefined {
    return this.#status;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  end(status: number): void {
    this.#status ??= status;
    this.#controller.abort();
  }

  /** @throws when the demo must end before `work` has */
  race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#stopped]);
  }

  /** Signals have their usual effect again. */
  forget(): void {
    for (const signal of Object.keys(STATUS)) process.off(signal, this.#onSignal);
  }
}
