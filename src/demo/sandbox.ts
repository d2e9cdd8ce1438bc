import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { LametunError } from '../errors.js';
import type { LessonEvent } from './events.js';
import { enterWords, environment, unshareArguments } from './machine.js';

const INSIDE = fileURLToPath(new URL('inside.js', import.meta.url));

/** What the inside tells the outside, one JSON object a line. Each `event` waits for a line in return. */
export type Message =
  | { readonly kind: 'up' /** as this side's /proc has it */; readonly pid: number }
  | { readonly kind: 'event'; readonly event: LessonEvent }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'done'; readonly hosts: Readonly<Record<string, string>> };

/**
 * The lesson's own world: a process in namespaces of its own for network, mounts and processes. Its process 1
 * plays the lesson; when that ends, the kernel ends every process in there, and the namespaces go with them.
 *
 * Nobody has to tidy up, so nothing is left behind however it ends. Process 1 ends
 *   - when told so,
 *   - when its standard input ends: the other end of that pipe is held by this process alone, and the kernel
 *     closes it even when this process is killed,
 *   - when `unshare` in between is killed (--kill-child).
 */
export class Sandbox {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #pid: number | undefined;
  #errors = '';

  /** @param file a file descriptor that takes the captured packets */
  constructor(file?: number) {
    this.#child = spawn('unshare', [...unshareArguments(), process.execPath, INSIDE], {
      stdio: ['pipe', 'pipe', 'pipe', file ?? 'ignore'],
      env: { ...environment(), ...(file === undefined ? {} : { LAMETUN_DEMO_CAPTURE: '3' }) },
      detached: true, // Ctrl-C on the terminal is for this process, which ends the other in order
    });
    this.#ended = once(this.#child, 'close').then(
      () => undefined,
      () => undefined,
    );
    this.#child.stdin!.on('error', () => {}); // it ended before it could read; the end is noticed elsewhere
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
  }

  /**
   * The lesson, as it happens. It goes on when the next event is asked for, and stands still until then.
   *
   * @returns how to enter each host, by its name
   * @throws LametunError when the lesson cannot go on
   */
  async *events(): AsyncGenerator<LessonEvent, Readonly<Record<string, string>>> {
    for await (const line of createInterface({ input: this.#child.stdout! })) {
      const message = JSON.parse(line) as Message;
      if (message.kind === 'up') this.#pid = message.pid;
      else if (message.kind === 'failed') throw new LametunError('linux', message.message);
      else if (message.kind === 'done') {
        const enter = enterWords(this.#pid!);
        return Object.fromEntries(
          Object.entries(message.hosts).map(([host, name]) => [host, `${enter} ip netns exec ${name} bash`]),
        );
      } else {
        yield message.event;
        this.#child.stdin!.write('\n');
      }
    }
    await this.#ended;
    const { exitCode, signalCode } = this.#child;
    const why = this.#errors.trim().split('\n').at(-1) || signalCode || `status ${exitCode}`;
    throw new LametunError('linux', `the demo's inner process ended too early (${why})`);
  }

  /** Ends everything inside, and returns when the last process of it is gone. */
  async end(): Promise<void> {
    this.#child.stdin!.end();
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      // Process 1 rather than `unshare`: that one lives until process 1 and everything in there is really gone.
      try {
        process.kill(this.#pid ?? this.#child.pid!, 'SIGKILL');
      } catch {} // it was quicker
    }
    await this.#ended;
  }

  /** Settles when the inside has ended by itself. */
  get ended(): Promise<void> {
    return this.#ended;
  }
}
