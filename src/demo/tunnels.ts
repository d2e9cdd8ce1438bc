import type { ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { createInterface } from 'node:readline';
import { LametunError } from '../errors.js';
import type { Namespace } from '../linux/process/namespace.js';
import { commandFor } from '../self.js';

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
  /** Emits `change` when there is another event, or the process has ended. */
  readonly #changes = new EventEmitter();
  #errors = '';
  #ended: string | undefined;

  /** @param args without `--json` */
  constructor(host: Namespace, args: readonly string[]) {
    const [path, ...first] = commandFor('cli/main');
    this.#child = host.spawn(path, [...first, ...args, '--json'], {
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
    const signal = AbortSignal.timeout(PATIENCE);
    for (;;) {
      const found = this.#events.find((event) => event.event === name && fits(event));
      if (found !== undefined) return found;
      if (this.#ended !== undefined) throw new LametunError('linux', `the tunnel ended: ${this.#ended}`);
      await once(this.#changes, 'change', { signal }).catch(() => {
        throw new LametunError('linux', `the tunnel did not become "${name}" in 10 s`);
      });
    }
  }

  /** Ends it as Ctrl-C would. Its device goes with it. */
  async end(): Promise<void> {
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGINT');
    await closed;
  }

  #take(line: string): void {
    try {
      const event: unknown = JSON.parse(line);
      if (typeof event === 'object' && event !== null && 'event' in event)
        this.#events.push(event as TunnelEvent);
    } catch {} // a line for people
    this.#changes.emit('change');
  }

  #end(why: string): void {
    this.#ended ??= why;
    this.#changes.emit('change');
  }
}
