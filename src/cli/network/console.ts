import { closeSync, fstatSync, renameSync, writeSync } from 'node:fs';
import { openOwnFile } from '../../linux/files/safe-files.js';
import { logged, type Priority } from '../../linux/service/priority.js';
import type { Log } from '../../log.js';
import { forTerminal } from '../../protocol/text.js';
import { wrap } from '../../wrap.js';
import { errorText } from '../error-text.js';
import { StatusLine } from '../status-line.js';
import { terminalWidth } from './table.js';

/** A log of this many bytes becomes `lametun.log.1`, and a new one begins. */
const LONGEST_LOG = 1 << 20;
/** A line to copy. */
const COMMAND = /^lametun join \S+$/;

/**
 * The output of a running node or hub: text on the terminal with a status line at the end; JSON, one object per line; or a
 * file, in the background.
 */
export class Console {
  readonly #json: boolean;
  readonly #terminal: boolean;
  #file: string | undefined;
  readonly #status = new StatusLine(process.stdout);

  constructor(json: boolean) {
    this.#json = json;
    this.#terminal = !json && process.stdout.isTTY === true;
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {}); // the reader is gone
  }

  /** @param event the same as JSON */
  say(
    text: string,
    event: { readonly event: string } & Readonly<Record<string, unknown>>,
    priority: Priority = 'info',
  ): void {
    if (this.#file !== undefined) {
      this.#log(text);
      return;
    }
    const lines = this.#json ? JSON.stringify(event) : forTerminal(wrapped(text));
    this.#status.above(() => process.stdout.write(logged(1, `${lines}\n`, priority)));
  }

  /** Reports a change. */
  note(text: string, priority?: Priority): void {
    const time = new Date().toTimeString().slice(0, 8);
    this.say(this.#terminal ? `${time}  ${text}` : text, { event: 'change', text }, priority);
  }

  /** Sets the status line of a terminal. */
  status(line: string): void {
    if (this.#terminal && this.#file === undefined) this.#status.set(forTerminal(line));
  }

  /** Writes to a file from now on. @param file is made, readable only by its owner */
  toFile(file: string): void {
    this.#file = file;
  }

  /** Writes to the file why the process ends. */
  ended(error: unknown): void {
    if (this.#file !== undefined) this.#log(errorText(error));
  }

  /** Removes the status line. */
  close(): void {
    this.#status.clear();
  }

  /** The log of hub and node: errors always, the rest if verbose. */
  log(verbose: boolean): Log {
    return {
      isVerbose: verbose,
      verbose: (text) => {
        if (verbose) this.note(text, 'debug');
      },
      error: (text) => {
        if (this.#file !== undefined) this.#log(text);
        else
          this.#status.above(() =>
            process.stderr.write(logged(2, `lametun: ${forTerminal(text)}\n`, 'error')),
          );
      },
    };
  }

  #log(text: string): void {
    const file = this.#file!;
    try {
      const isFull = appendLine(file, `${new Date().toISOString()} ${forTerminal(text)}\n`);
      if (isFull) renameSync(file, `${file}.1`);
    } catch {} // a full disk must not end a tunnel
  }
}

/** Wraps between words, but leaves the command to paste whole. */
function wrapped(text: string): string {
  const width = terminalWidth();
  const lines = text.split('\n');
  return lines.flatMap((line) => (COMMAND.test(line) ? line : wrap(line, width))).join('\n');
}

/** @returns whether the file is full */
function appendLine(file: string, line: string): boolean {
  const fd = openOwnFile(file, 'append');
  try {
    writeSync(fd, line);
    return fstatSync(fd).size > LONGEST_LOG;
  } finally {
    closeSync(fd);
  }
}
