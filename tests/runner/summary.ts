import { relative, resolve } from 'node:path';
import { COULD_NOT_RUN, MUST_RUN_VARIABLE } from '../kit/requirements.js';

/** The fields of an event of Node's test runner that this module reads. */
export interface TestEvent {
  readonly name: string;
  readonly file?: string | undefined;
  readonly skip?: string | boolean | undefined;
  readonly nesting?: number | undefined;
  readonly details?: { readonly type?: string | undefined; readonly duration_ms?: number | undefined };
}

/** The number of longest files that a summary lists. */
const NAMED = 5;

/**
 * Counts the results, and prints them in the last lines of a run. Node's own summary counts a file without tests as
 * passed, and does not say why tests were skipped.
 */
export class Summary {
  #passed = 0;
  #failed = 0;
  readonly #skipped = new Map<string, number>();
  /** By file: the number of ended tests, their time in milliseconds, and the running ones, in case the file never ends. */
  readonly #files = new Map<string, { ended: number; time: number; failed: boolean; running: string[] }>();

  constructor(files: readonly string[]) {
    for (const file of files) this.#files.set(file, { ended: 0, time: 0, failed: false, running: [] });
  }

  started(event: TestEvent): void {
    if (!isWholeFile(event)) this.#file(event)?.running.push(event.name);
  }

  ended(event: TestEvent, result: 'pass' | 'fail'): void {
    const file = this.#file(event);
    if (result === 'fail' && file !== undefined) file.failed = true;
    if (isWholeFile(event)) {
      if (result === 'fail') this.#failed++;
      return;
    }
    if (file !== undefined) {
      file.ended++;
      if (event.nesting === 0) file.time += event.details?.duration_ms ?? 0;
      const index = file.running.lastIndexOf(event.name);
      if (index >= 0) file.running.splice(index, 1);
    }
    if (event.details?.type === 'suite') return; // only its tests count
    if (event.skip !== undefined && event.skip !== false) {
      const reason = typeof event.skip === 'string' ? event.skip : '';
      const why = reason.startsWith(COULD_NOT_RUN) ? reason.slice(COULD_NOT_RUN.length) : `skipped ${reason}`;
      this.#skipped.set(why.trim(), (this.#skipped.get(why.trim()) ?? 0) + 1);
    } else if (result === 'pass') this.#passed++;
    else this.#failed++;
  }

  /**
   * Returns the last lines and the exit status.
   *
   * @param mustRun whether a test that could not run is a failure
   * @param notes lines about this run, printed before the counts
   */
  close(
    mustRun: boolean,
    notes: readonly string[] = [],
  ): { readonly lines: string[]; readonly status: 0 | 1 } {
    const skipped = [...this.#skipped.values()].reduce((sum, count) => sum + count, 0);
    const problems: string[] = [];
    for (const [path, { ended, failed, running }] of this.#files) {
      const file = relative('.', path);
      if (failed && running.length > 0) problems.push(`${file} ended while running: ${running.join(', ')}`);
      if (ended === 0 && !failed) problems.push(`${file} ran no test`);
    }
    if (this.#files.size === 0) problems.push('no tests to run');
    if (mustRun && skipped > 0)
      problems.push(`${tests(skipped)} did not run, but ${MUST_RUN_VARIABLE}=1 requires all tests`);

    const longest = [...this.#files]
      .sort(([, one], [, other]) => other.time - one.time)
      .slice(0, NAMED)
      .map(([path, { time }]) => `${relative('.', path)} ${(time / 1000).toFixed(0)} s`);
    const lines = [
      '',
      ...notes,
      `Longest files: ${longest.join(', ')}`,
      `${tests(this.#passed + this.#failed + skipped)}: ${this.#passed} passed, ${this.#failed} failed` +
        (skipped > 0 ? `, ${skipped} could not run` : ''),
      ...problems.map((problem) => `FAILED: ${problem}`),
    ];
    if (skipped > 0) {
      lines.push('', `${tests(skipped)} could not run here:`);
      for (const [why, count] of this.#skipped) lines.push(`${String(count).padStart(4)}  ${why}`);
    }
    return { lines, status: this.#failed > 0 || problems.length > 0 ? 1 : 0 };
  }

  #file(event: TestEvent) {
    return event.file === undefined ? undefined : this.#files.get(event.file);
  }
}

/** Whether an event is about a whole file, which Node reports as a test if it ran no test or ended with an error. */
const isWholeFile = ({ name, file }: TestEvent): boolean => file !== undefined && resolve(name) === file;

const tests = (count: number): string => `${count} ${count === 1 ? 'test' : 'tests'}`;
