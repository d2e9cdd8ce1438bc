import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { until } from './wait.js';

/** A running program and its output. */
export class Running {
  stdout = '';
  stderr = '';
  /** How it ended: the exit status, or the signal's name. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  readonly #what: string;
  #end: number | NodeJS.Signals | undefined;

  /** @param onLine receives stdout line by line; `stdout` then stays empty */
  constructor(child: ChildProcess, what: string, onLine?: (line: string) => void) {
    this.#child = child;
    this.#what = what;
    if (onLine !== undefined) createInterface({ input: child.stdout! }).on('line', onLine);
    else
      child.stdout!.setEncoding('utf8').on('data', (text: string) => {
        this.stdout += text;
      });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => {
        this.#end = code ?? signal!;
        resolve(this.#end);
      });
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get running(): boolean {
    return this.#end === undefined;
  }

  /** How it ended; undefined while it runs. */
  get end(): number | NodeJS.Signals | undefined {
    return this.#end;
  }

  /** Waits until its stdout matches `pattern`. @throws Error with its output if it ends first */
  async says(pattern: RegExp, milliseconds = 90_000): Promise<RegExpExecArray> {
    return until(
      `${this.#what} to say ${pattern}: ${this.stdout}${this.stderr}`,
      () => {
        const found = pattern.exec(this.stdout);
        if (!found && !this.running)
          throw new Error(`${this.#what} ended with ${this.#end}: ${this.stdout}${this.stderr}`);
        return found ?? undefined;
      },
      milliseconds,
    );
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals> {
    if (this.running) this.#child.kill(signal);
    return this.ended;
  }
}
