import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { LametunError, usage } from '../../errors.js';
import { lockHolder } from '../../linux/files/file-lock.js';
import type { ControlAnswers, ControlCommand, ControlError, ControlRequest } from './control.js';
import { type ControlSide, differ, mayDiffer, readSide, sideOf } from './control-version.js';
import { controlPath, isReadOnly, operatorsPath } from './operators.js';

/**
 * Asks the process that runs on a state directory.
 *
 * @param onAnswer gets each answer
 * @throws LametunError `unreachable` when no process runs, `usage` when this user may not ask, `protocol` when the
 *   process is of another version that does not understand the request; otherwise the error that it answered
 */
export async function askControl<C extends ControlCommand>(
  state: string,
  request: Extract<ControlRequest, { command: C }>,
  onAnswer: (value: ControlAnswers[C]) => void,
  { signal, program }: AskOptions = {},
): Promise<void> {
  const socket = await reach(state, request);
  const answers = new Answers(sideOf(program), onAnswer);
  const stop = (): void => void socket.destroy();
  signal?.addEventListener('abort', stop);
  if (signal?.aborted) stop();
  try {
    await new Promise<void>((resolve, reject) => {
      let text = '';
      socket.setEncoding('utf8');
      socket.write(`${JSON.stringify({ ...request, lametun: sideOf(program) })}\n`);
      socket.on('error', (error: NodeJS.ErrnoException) => reject(connectError(state, request, error)));
      socket.on('close', () => {
        if (signal?.aborted) resolve();
        else reject(new LametunError('unreachable', 'lametun stopped before it answered'));
      });
      socket.on('data', (chunk: string) => {
        const lines = (text + chunk).split('\n');
        text = lines.pop()!;
        for (const line of lines) {
          try {
            if (answers.read(line)) resolve();
          } catch (error) {
            reject(error);
          }
        }
      });
    });
  } finally {
    signal?.removeEventListener('abort', stop);
    socket.destroy();
  }
}

export interface AskOptions {
  /** Ends it early, without an error. */
  readonly signal?: AbortSignal;
  /** `lametun 0.1.0`: this program. */
  readonly program?: string;
}

/** Reads the answers of a process that may be of another version. */
class Answers<T> {
  readonly #ours: ControlSide;
  readonly #onAnswer: (value: T) => void;
  #theirs: ControlSide | undefined;

  constructor(ours: ControlSide, onAnswer: (value: T) => void) {
    this.#ours = ours;
    this.#onAnswer = onAnswer;
  }

  /** @returns whether it was the last line */
  read(line: string): boolean {
    try {
      const answer = JSON.parse(line) as {
        lametun?: unknown;
        value?: T;
        done?: boolean;
        error?: ControlError;
      };
      this.#theirs ??= readSide(answer.lametun);
      if (this.#theirs.protocol !== this.#ours.protocol) throw differ(this.#theirs, this.#ours);
      if (answer.error) throw new ControlFailure(answer.error);
      if (answer.done) return true;
      this.#onAnswer(answer.value!);
      return false;
    } catch (error) {
      const theirs = this.#theirs ?? readSide(undefined);
      // It did not understand the request, or this side does not understand its answer.
      const isStrange = !(error instanceof LametunError) || error.code === 'protocol';
      throw isStrange && mayDiffer(theirs, this.#ours) ? differ(theirs, this.#ours, error as Error) : error;
    }
  }
}

/** An error of the other process. Another version may send other codes. */
class ControlFailure extends LametunError {
  constructor({ code, message }: ControlError) {
    super(code as LametunError['code'], message);
  }
}

/** Connects to root's socket, or to the operators' socket if this user may not open the first. */
async function reach(state: string, request: ControlRequest): Promise<Socket> {
  try {
    return await connected(controlPath(state));
  } catch (error) {
    const failure = connectError(state, request, error as NodeJS.ErrnoException);
    if (!isDenied(error as NodeJS.ErrnoException)) throw failure;
    return connected(operatorsPath(state)).catch(() => {
      throw failure;
    });
  }
}

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  return socket;
}

const isDenied = ({ code }: NodeJS.ErrnoException): boolean => code === 'EACCES' || code === 'EPERM';

function connectError(state: string, request: ControlRequest, error: NodeJS.ErrnoException): LametunError {
  const path = controlPath(state);
  if (isDenied(error)) {
    const otherwise = isReadOnly(request)
      ? ', or ask root to admit a group that you are in: `lametun up --operators GROUP`'
      : '';
    return usage(`only root may open ${path}: try sudo${otherwise}`, { cause: error });
  }
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') return notRunning(state, error);
  return new LametunError('unreachable', `${path}: ${error.message}`, { cause: error });
}

function notRunning(state: string, cause: Error): LametunError {
  const option = state === '/var/lib/lametun' ? '' : ` --state ${state}`;
  if (lockHolder(join(state, 'lock')) !== undefined)
    return new LametunError('unreachable', `lametun is starting or stopping on ${state}: try again`, {
      cause,
    });
  const todo =
    existsSync(join(state, 'node.json')) || existsSync(join(state, 'hub.json'))
      ? `run \`lametun up${option}\``
      : `run \`lametun serve${option}\` or \`lametun join${option} TOKEN\``;
  return new LametunError('unreachable', `no lametun is running on ${state}: ${todo}`, { cause });
}
