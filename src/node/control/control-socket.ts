import { existsSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { LametunError, usage } from '../../errors.js';
import { lockHolder } from '../../linux/files/file-lock.js';
import type { ControlAnswers, ControlCommand, ControlError, ControlRequest } from './control.js';
import { Connections, type ControlHandler } from './control-connection.js';
import { type ControlSide, differ, mayDiffer, readSide, sideOf } from './control-version.js';
import { isReadOnly, operatorsPath } from './operators.js';

/** The socket of a state directory. */
export const controlPath = (state: string): string => join(state, 'control.sock');

const MOST_CONNECTIONS = 64;

/**
 * Answers on the control socket of a state directory, 0600, whose lock the caller holds: what a killed process left
 * there is replaced.
 *
 * @param program `lametun 0.1.0`, for who asks and is of another version
 * @throws LametunError when the path is too long for a socket, or the directory not ours
 */
export async function serveControl(
  state: string,
  handle: ControlHandler,
  program?: string,
): Promise<ControlServer> {
  const path = controlPath(state);
  if (Buffer.byteLength(path) > 107)
    throw usage(`${path} is too long for a socket: choose a shorter --state`);
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) unlinkSync(path);
  const connections = new Connections(MOST_CONNECTIONS, handle, program);
  const server = createServer({ allowHalfOpen: true }, (socket) => connections.add(socket));
  const before = process.umask(0o177); // of the whole process, for as long as it takes to bind, which is synchronous
  try {
    await listen(server, path, () => process.umask(before));
  } finally {
    process.umask(before);
  }
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await connections.stop();
      await closed;
    },
  };
}

export interface ControlServer {
  /** What would go on without end is ended, what is being done may finish. The socket's file goes. */
  close(): Promise<void>;
}

function listen(server: Server, path: string, bound: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new LametunError('linux', `cannot listen on ${path}: ${error.message}`, { cause: error })),
    );
    server.listen(path, () => resolve());
    bound();
  });
}

/**
 * Asks the process that runs on a state directory.
 *
 * @param onAnswer gets every line
 * @throws LametunError `unreachable` when none runs, `usage` when the right is missing, `protocol` when it is of another
 *   version and they do not understand each other; else what the process answered
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
        else reject(new LametunError('unreachable', 'lametun ended before it had answered'));
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
  /** `lametun 0.1.0`: who asks. */
  readonly program?: string;
}

/** Reads what the other process answers, which may be of another version. */
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
      // It did not know what was asked, or we do not know what it answered.
      const isStrange = !(error instanceof LametunError) || error.code === 'protocol';
      throw isStrange && mayDiffer(theirs, this.#ours) ? differ(theirs, this.#ours, error as Error) : error;
    }
  }
}

/** What the other process could not do. Its code is whatever that process said. */
class ControlFailure extends LametunError {
  constructor({ code, message }: ControlError) {
    super(code as LametunError['code'], message);
  }
}

/** Connects to the process by its own socket, or by the one for operators where the first is closed to this user. */
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

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

const isDenied = ({ code }: NodeJS.ErrnoException): boolean => code === 'EACCES' || code === 'EPERM';

function connectError(state: string, request: ControlRequest, error: NodeJS.ErrnoException): LametunError {
  const path = controlPath(state);
  if (isDenied(error)) {
    const otherwise = isReadOnly(request)
      ? ', or have root allow a group that you are in: `lametun up --operators GROUP`'
      : '';
    return usage(`${path} is root's: try sudo${otherwise}`, { cause: error });
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
      ? `start it with \`lametun up${option}\``
      : `begin with \`lametun serve${option}\`, or with \`lametun join${option} TOKEN\``;
  return new LametunError('unreachable', `no lametun runs on ${state}: ${todo}`, { cause });
}
