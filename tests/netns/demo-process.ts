import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

/** An environment variable that marks all processes of one demo run, in any namespace. */
const MARK = 'LAMETUN_TEST_RUN';

export interface Prefix {
  /** A command prefix: its words come before those of node. */
  readonly words?: readonly string[];
  readonly main?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Whether the demo runs on a terminal of 24 rows and 80 columns, which also shows stderr. */
  readonly terminal?: boolean;
}

const running = new Set<ChildProcess>();
afterEach(() => {
  for (const child of running) child.kill('SIGKILL'); // the child of a failed test would keep this process alive
});

const folders: string[] = [];
process.once('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** One run of `lametun demo`. */
export class DemoProcess {
  readonly child: ChildProcess;
  /** The directory for its temporary files. */
  readonly temporary = mkdtempSync(join(tmpdir(), 'lametun-demo-'));
  readonly #mark = randomUUID();
  #stdout = '';
  #stderr = '';
  readonly #closed: Promise<unknown>;

  constructor(
    args: readonly string[],
    { words = [], main = 'dist/src/cli/main.js', env = {}, terminal = false }: Prefix = {},
  ) {
    const plain = [...words, process.execPath, resolve(main), 'demo', ...args];
    const [command, ...rest] = terminal ? onTerminal(plain) : plain;
    this.child = spawn(command!, rest, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        ...process.env,
        LANG: 'C.UTF-8',
        LC_ALL: 'C.UTF-8',
        TERM: 'xterm',
        NO_COLOR: '1',
        SHELL: '/bin/sh',
        ...env,
        TMPDIR: this.temporary,
        [MARK]: this.#mark,
      },
    });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.child.stdin!.on('error', () => {});
    running.add(this.child);
    this.#closed = once(this.child, 'close').finally(() => running.delete(this.child));
    chmodSync(this.temporary, 0o777);
    folders.push(this.temporary);
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  type(keys: string): void {
    this.child.stdin!.write(keys);
  }

  enter(): void {
    this.type('\n');
  }

  /** Waits until stdout has `times` matches. */
  async shows(pattern: RegExp, times = 1): Promise<void> {
    const deadline = Date.now() + 60_000;
    const all = new RegExp(pattern.source, `g${pattern.flags}`);
    while ((this.#stdout.match(all)?.length ?? 0) < times) {
      if (Date.now() > deadline || this.child.exitCode !== null) {
        throw new Error(`the demo did not show ${pattern}:\n${this.#stdout}\n${this.#stderr}`);
      }
      await sleep(20);
    }
  }

  /** @returns the exit status as in a shell: 128 plus the signal's number if a signal ended it */
  async end(): Promise<number> {
    await this.#closed;
    const { exitCode, signalCode } = this.child;
    return exitCode ?? 128 + (signalCode === 'SIGKILL' ? 9 : 0);
  }

  /** The run's processes that have not exited, including descendants. */
  remains(): { pid: number; command: string }[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => {
        try {
          if (!readFileSync(`/proc/${name}/environ`, 'latin1').includes(`${MARK}=${this.#mark}`)) return [];
          const command = readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ');
          return [{ pid: Number(name), command }];
        } catch {
          return []; // it has exited
        }
      });
  }

  /** The pid of one process of the run. */
  pidOf(command: RegExp): number {
    const found = this.remains().find((process) => command.test(process.command));
    if (found === undefined) throw new Error(`no ${command}: ${JSON.stringify(this.remains())}`);
    return found.pid;
  }

  /** Waits until all processes have exited. @returns milliseconds */
  async vanishes(): Promise<number> {
    if (this.remains().length === 0) return 0; // the check itself takes time
    const start = Date.now();
    while (this.remains().length > 0) {
      if (Date.now() - start > 20_000) throw new Error(`still there: ${JSON.stringify(this.remains())}`);
      await sleep(10);
    }
    return Date.now() - start;
  }
}

/** Runs a command on a terminal of util-linux's `script`, and prints the terminal's settings at the end. */
function onTerminal(words: readonly string[]): string[] {
  const quoted = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const command = `stty rows 24 cols 80; trap : INT; ${quoted}; status=$?; stty -a; exit $status`;
  return ['script', '--quiet', '--return', '--command', command, '/dev/null'];
}
