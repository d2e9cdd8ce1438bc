import { setTimeout as sleep } from 'node:timers/promises';
import type { LessonEvent } from './events.js';
import type { Look } from './paint.js';
import { Renderer } from './renderer.js';

/** Time to read, in milliseconds: for each event, and for each character of a paragraph. */
const PAUSE: Readonly<Record<LessonEvent['kind'], number>> = {
  scene: 400,
  text: 200,
  drawing: 900,
  command: 300,
  output: 500,
  packet: 900,
  bytes: 1100,
  table: 1100,
};
const PAUSE_PER_CHARACTER = 1.6;
/** After so much waiting there is no more: a slow machine shall not make the lesson long. */
const PATIENCE = 36_000;
/** Drawings are put down line by line, so that the eye can follow. */
const PAUSE_PER_LINE = 5;

/** How long to wait after an event, in milliseconds. */
export const pauseAfter = (event: LessonEvent): number =>
  PAUSE[event.kind] + (event.kind === 'text' ? event.text.length * PAUSE_PER_CHARACTER : 0);

export interface PlayerOptions {
  readonly step: boolean;
  /** Ends every wait. */
  readonly signal: AbortSignal;
  readonly recorded?: boolean;
}

/** Shows the lesson to whoever sits at stdout: at reading speed on a terminal, at once to a pipe. */
export class Player {
  readonly #options: PlayerOptions;
  readonly #renderer = new Renderer(lookOf(process.stdout, process.env));
  #patience = PATIENCE;
  #scenes = 0;

  constructor(options: PlayerOptions) {
    this.#options = options;
  }

  async show(event: LessonEvent): Promise<void> {
    if (event.kind === 'scene' && this.#scenes++ > 0 && this.#options.step) {
      process.stdout.write('\n  Enter: next scene ');
      const typed = await this.enter({ endIsEnter: true });
      if (this.#options.signal.aborted) return;
      if (!typed || !process.stdin.isTTY) process.stdout.write('\n'); // else the terminal has echoed one
    }
    const recorded = event.kind === 'scene' && this.#options.recorded === true;
    const shown = recorded ? { ...event, title: `${event.title} (recorded)` } : event;
    for (const line of this.#renderer.render(shown).split(/(?<=\n)/)) {
      if (this.#options.signal.aborted) return;
      process.stdout.write(line);
      await this.#pause(PAUSE_PER_LINE);
    }
    await this.#pause(pauseAfter(event));
  }

  /** A remark that is not part of the lesson. */
  say(text: string): void {
    process.stdout.write(this.#renderer.render({ kind: 'text', text }));
  }

  /** Commands to be copied from the terminal, each with a name or without: never wrapped. */
  commands(commands: readonly (readonly [name: string, command: string])[]): void {
    const label = (name: string): string => (name === '' ? '' : `${name}:`.padEnd(13));
    const lines = commands.map(([name, command]) => `    ${label(name)}${command}\n`);
    process.stdout.write(`\n${lines.join('')}`);
  }

  /**
   * Waits for Enter, or for the signal.
   *
   * @param endIsEnter whether to go on when stdin ends, as nobody will ever press Enter then
   * @returns whether a line was read
   */
  enter({ endIsEnter }: { endIsEnter: boolean }): Promise<boolean> {
    const { stdin } = process;
    const { signal } = this.#options;
    return new Promise((resolve) => {
      const finish = (typed: boolean): void => {
        stdin.off('data', onData).off('end', onEnd).pause();
        signal.removeEventListener('abort', onAbort);
        resolve(typed);
      };
      const onData = (data: Buffer): void => {
        if (data.includes('\n')) finish(true);
      };
      const onEnd = (): void => {
        if (endIsEnter) finish(false);
      };
      const onAbort = (): void => finish(false);
      if (signal.aborted || (stdin.readableEnded && endIsEnter)) return resolve(false);
      signal.addEventListener('abort', onAbort);
      stdin.on('data', onData).on('end', onEnd).resume();
    });
  }

  async #pause(milliseconds: number): Promise<void> {
    if (!process.stdout.isTTY || this.#options.step || this.#patience <= 0) return;
    this.#patience -= milliseconds;
    await sleep(milliseconds, undefined, { signal: this.#options.signal }).catch(() => {});
  }
}

/** The lesson is drawn for 80 columns. On a narrower terminal its lines break; on a wider one they read well. */
const COLUMNS = 80;

/** What a stream can show. The environment's wishes: no-color.org, and the locale as locale(7) orders it. */
export function lookOf(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): Look {
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  const colorful = stream.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
  const many = /256|direct|kitty|alacritty/.test(env['TERM'] ?? '') || env['COLORTERM'] !== undefined;
  return {
    width: COLUMNS,
    colors: !colorful ? 'none' : many ? '256' : '16',
    unicode: /utf-?8/i.test(locale),
  };
}
