import { setTimeout as sleep } from 'node:timers/promises';
import type { LessonEvent } from './events.js';
import { Keyboard } from './keyboard.js';
import { Pace, readingTime } from './pace.js';
import { Pages } from './pages.js';
import type { Look } from './paint.js';
import { Renderer } from './renderer.js';

export interface PlayerOptions {
  /** Wait for a key at each screen. */
  readonly step: boolean;
  /** Ends every wait. */
  readonly signal: AbortSignal;
  readonly recorded?: boolean;
}

/** The longest wait of setTimeout, in milliseconds. */
const MAX_TIMEOUT = 2 ** 31 - 1;
/** The rows of the smallest screen. The last row explains the keys. */
const ROWS = 24;

/** Shows the lesson on stdout: screen by screen at reading speed to a terminal, at once to a pipe. */
export class Player {
  readonly #options: PlayerOptions;
  readonly #renderer = new Renderer(lookOf(process.stdout, process.env));
  readonly #pages = new Pages();
  readonly #pace: Pace;
  readonly #isPaged = hasScreen(process.stdout, process.env);
  readonly #keyboard: Keyboard | undefined;
  #isOver = false;
  /** Ends the current wait for a key or the clock. */
  #wake: () => void = () => {};

  constructor(options: PlayerOptions) {
    this.#options = options;
    this.#pace = new Pace(performance.now(), options.step);
    options.signal.addEventListener('abort', () => this.end());
    if (!this.#isPaged || !process.stdin.isTTY) return;
    this.#keyboard = new Keyboard((key) => {
      const now = performance.now();
      if (key === 'enter') this.#pace.skip(now);
      else if (key === 'space') this.#pace.togglePause(now);
      else this.#pace.pause(now);
      this.#wake();
    });
  }

  async show(event: LessonEvent): Promise<void> {
    const isScene = event.kind === 'scene';
    const recorded = isScene && this.#options.recorded === true;
    const text = this.#renderer.render(recorded ? { ...event, title: `${event.title} (recorded)` } : event);
    if (!this.#isPaged) {
      process.stdout.write(text);
      return;
    }
    const lines = text.split(/(?<=\n)/);
    const used = this.#pages.used;
    const rows = Math.max(ROWS, process.stdout.rows) - 1;
    for (const [i, part] of this.#pages.place(lines, rows, isScene).entries()) {
      if (part.fresh) await this.#turn(i === 0 ? used : rows);
      if (this.#isOver) return;
      process.stdout.write(part.lines.join(''));
      this.#pace.shown((readingTime(event) * part.lines.length) / lines.length, performance.now());
    }
  }

  /** The lesson is over: nothing more is shown, and keys have their usual effect again. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#keyboard?.close();
    this.#wake();
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

  /** Waits until the screen has been read, then scrolls its `used` lines out of sight. */
  async #turn(used: number): Promise<void> {
    const last = `\x1b[${Math.max(ROWS, process.stdout.rows)};1H`;
    for (;;) {
      const left = this.#pace.left(performance.now());
      if (left === 0 || this.#isOver) break;
      if (this.#keyboard !== undefined) process.stdout.write(`${last}\x1b[K${this.#prompt(left)}`);
      await this.#wait(Number.isFinite(left) ? Math.min(left, 1000) : MAX_TIMEOUT);
    }
    process.stdout.write(`${last}\x1b[K`);
    // Scrolled rather than erased: the terminal keeps it in its history.
    if (!this.#isOver) process.stdout.write(`${'\n'.repeat(used)}\x1b[H\x1b[J`);
  }

  #prompt(left: number): string {
    if (this.#options.step) return '  Enter: next';
    if (this.#pace.paused) return '  paused    space: continue    Enter: next';
    return `  ${Math.ceil(left / 1000)} s    space: pause    Enter: next`;
  }

  #wait(milliseconds: number): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    return sleep(milliseconds, undefined, { signal: woken.signal }).catch(() => {});
  }
}

/** Whether a stream is a terminal that can show one screen after another. */
export const hasScreen = (stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean =>
  stream.isTTY === true && env['TERM'] !== 'dumb';

/** The lesson is drawn for 80 columns. */
const COLUMNS = 80;

/** What a stream can show, by no-color.org and locale(7). */
export function lookOf(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): Look {
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  const colorful = hasScreen(stream, env) && !env['NO_COLOR'];
  const many = /256|direct|kitty|alacritty/.test(env['TERM'] ?? '') || env['COLORTERM'] !== undefined;
  return {
    width: COLUMNS,
    colors: !colorful ? 'none' : many ? '256' : '16',
    unicode: /utf-?8/i.test(locale),
  };
}
