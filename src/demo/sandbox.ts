import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { LametunError } from '../errors.js';
import { commandFor } from '../self.js';
import type { LessonEvent } from './events.js';
import { enterWords, environment, unshareArguments } from './machine.js';

/** What the sandbox's process 1 writes, one JSON object a line. After each `event` it waits for a line in return. */
export type Message =
  | { readonly kind: 'up' /** as this side's /proc has it */; readonly pid: number }
  | { readonly kind: 'event'; readonly event: LessonEvent }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'done'; readonly hosts: Readonly<Record<string, string>> };

/**
 * Namespaces of their own for network, mounts and processes. Process 1 in there plays the lesson. When it ends, the
 * kernel ends every other process in there, and removes the namespaces.
 *
 * So nothing is left behind, however the demo ends. Process 1 ends
 *   - when it is told to,
 *   - when its standard input ends: the other end of that pipe is held by this process alone, and the kernel
 *     closes it even when this process is killed,
 *   - when `unshare` in between is killed (--kill-child).
 */
export class Sandbox {
  readonly #child: ChildProcess;
  /** Settles when process 1 has ended. */
  readonly ended: Promise<void>;
  #pid: number | undefined;
  #errors = '';

  /** @param file a file descriptor that takes the captured packets */
  constructor(file?: number) {
    this.#child = spawn('unshare', [...unshareArguments(), ...commandFor('demo/inside')], {
      stdio: ['pipe', 'pipe', 'pipe', file ?? 'ignore'],
      env: { ...environment(), ...(file === undefined ? {} : { LAMETUN_DEMO_CAPTURE: '3' }) },
      detached: true, // Ctrl-C is for this process, which then ends the other in order
    });
    this.ended = once(this.#child, 'close').then(
      () => undefined,
      () => undefined,
    );
    this.#child.stdin!.on('error', () => {}); // it ended before it could read; `events` notices that
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
  }

  /**
   * The lesson, as it happens. It pauses after each event until the next one is requested.
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
    await this.ended;
    const { exitCode, signalCode } = this.#child;
    const why = this.#errors.trim().split('\n').at(-1) || signalCode || `status ${exitCode}`;
    throw new LametunError('linux', `the demo's inner process ended too early (${why})`);
  }

  /** Ends everything inside, and returns when the last process of it is gone. */
  async end(): Promise<void> {
    this.#child.stdin!.end();
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      // Not `unshare`: it lives until process 1 and everything else in there is gone.
      try {
        process.kill(this.#pid ?? this.#child.pid!, 'SIGKILL');
      } catch {} // it has ended by itself
    }
    await this.ended;
  }
}
