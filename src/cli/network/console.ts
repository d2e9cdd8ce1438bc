import { closeSync, fstatSync, renameSync, writeSync } from 'node:fs';
import { openOwnFile } from '../../linux/files/safe-files.js';
import type { Log } from '../../log.js';
import { forTerminal } from '../../protocol/text.js';
import { wrap } from '../../wrap.js';
import { errorText } from '../error-text.js';
import { terminalWidth } from './table.js';

/** When the log of a process in the background has so many bytes, it becomes `lametun.log.1`, and another begins. */
const LONGEST_LOG = 1 << 20;
/** A line that is to be copied. */
const COMMAND = /^lametun join \S+$/;

/**
 * Where a node or hub that runs says what happens: to the terminal, with a line at its end that is always true; as JSON,
 * one object a line; or, in the background when nobody reads any more, to a file.
 */
export class Console {
  readonly #json: boolean;
  readonly #terminal: boolean;
  #file: string | undefined;
  #status = '';

  constructor(json: boolean) {
    this.#json = json;
    this.#terminal = !json && process.stdout.isTTY === true;
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {}); // nobody reads any more
  }

  /** @param event the same for programs */
  say(text: string, event: { readonly event: string } & Readonly<Record<string, unknown>>): void {
    if (this.#file !== undefined) this.#log(text);
    else if (this.#json) process.stdout.write(`${JSON.stringify(event)}\n`);
    else this.#print(`${this.#wrapped(text)}\n`);
  }

  /** Something changed while it runs. */
  note(text: string): void {
    const time = new Date().toTimeString().slice(0, 8);
    if (this.#json) this.say(text, { event: 'change', text });
    else this.say(this.#terminal ? `${time}  ${text}` : text, { event: 'change', text });
  }

  /** The line at the end of a terminal. */
  status(line: string): void {
    if (!this.#terminal || this.#file !== undefined) return;
    const width = process.stdout.columns ?? 80;
    const text = [...forTerminal(line)].slice(0, width - 1).join('');
    if (text === this.#status) return;
    this.#status = text;
    process.stdout.write(`\r\x1b[2K${text}`);
  }

  /** From now on into a file. @param file is made, readable by its owner alone */
  toFile(file: string): void {
    this.#file = file;
  }

  /** Why it ends, where nobody reads what is printed of that any more. */
  ended(error: unknown): void {
    if (this.#file !== undefined) this.#log(errorText(error));
  }

  /** Leaves the terminal as it should be. */
  close(): void {
    if (this.#status !== '') process.stdout.write('\r\x1b[2K');
    this.#status = '';
  }

  /** For what runs beneath: errors always, the rest on demand. */
  log(verbose: boolean): Log {
    return {
      isVerbose: verbose,
      verbose: (text) => {
        if (verbose) this.note(text);
      },
      error: (text) => {
        if (this.#file !== undefined) this.#log(text);
        else {
          this.#clear();
          process.stderr.write(`lametun: ${forTerminal(text)}\n`);
          this.#restore();
        }
      },
    };
  }

  /** Between words; the line to paste stays whole. */
  #wrapped(text: string): string {
    const width = terminalWidth();
    const lines = text.split('\n');
    return lines.flatMap((line) => (COMMAND.test(line) ? line : wrap(line, width))).join('\n');
  }

  #print(text: string): void {
    this.#clear();
    process.stdout.write(forTerminal(text));
    this.#restore();
  }

  #clear(): void {
    if (this.#status !== '') process.stdout.write('\r\x1b[2K');
  }

  #restore(): void {
    if (this.#status !== '') process.stdout.write(this.#status);
  }

  #log(text: string): void {
    const file = this.#file!;
    try {
      const isFull = appendLine(file, `${new Date().toISOString()} ${forTerminal(text)}\n`);
      if (isFull) renameSync(file, `${file}.1`);
    } catch {} // a full disk does not end a tunnel
  }
}

/** @returns whether the file has as much as it may have */
function appendLine(file: string, line: string): boolean {
  const fd = openOwnFile(file, 'append');
  try {
    writeSync(fd, line);
    return fstatSync(fd).size > LONGEST_LOG;
  } finally {
    closeSync(fd);
  }
}
