import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { LametunError } from '../errors.js';
import type { Namespace } from '../linux/process/namespace.js';

const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const PATIENCE = 10_000;

/** One line of `lametun --json`. */
export interface TunnelEvent {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** A `lametun` process on one of the hosts. */
export class TunnelProcess {
  readonly #child: ChildProcess;
  readonly #events: TunnelEvent[] = [];
  readonly #waiting = new Set<() => void>();
  #errors = '';
  #ended: string | undefined;

  /** @param args without `--json` */
  constructor(host: Namespace, args: readonly string[]) {
    this.#child = host.spawn(process.execPath, [MAIN, ...args, '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => this.#take(line));
    this.#child.on('error', (error) => this.#end(error.message));
    this.#child.on('close', (code, signal) => {
      this.#end(this.#errors.trim() || `it ended with ${signal ?? `status ${code}`}`);
    });
  }

  /**
   * Waits for an event, or finds it among those that have come.
   *
   * @param fits which of several events of this name is meant
   * @throws LametunError when the process ends instead, or ten seconds pass
   */
  async event(name: string, fits: (event: TunnelEvent) => boolean = () => true): Promise<TunnelEvent> {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const found = this.#events.find((event) => event.event === name && fits(event));
      if (found !== undefined) return found;
      if (this.#ended !== undefined) throw new LametunError('linux', `the tunnel ended: ${this.#ended}`);
      const left = deadline - Date.now();
      if (left <= 0) throw new LametunError('linux', `the tunnel did not become "${name}" in 10 s`);
      await this.#change(left);
    }
  }

  /** Ends it as Ctrl-C would. Its device goes with it. */
  async end(): Promise<void> {
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGINT');
    await closed;
  }

  #change(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      this.#waiting.add(done);
    });
  }

  #take(line: string): void {
    try {
      const event: unknown = JSON.parse(line);
      if (typeof event === 'object' && event !== null && 'event' in event)
        this.#events.push(event as TunnelEvent);
    } catch {} // a line for people
    this.#wake();
  }

  #end(why: string): void {
    this.#ended ??= why;
    this.#wake();
  }

  #wake(): void {
    for (const done of this.#waiting) done();
  }
}
