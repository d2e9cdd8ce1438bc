import { existsSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { LametunError } from '../errors.js';
import { lockHolder } from '../linux/file-lock.js';
import type { ControlAnswers, ControlCommand, ControlError, ControlRequest } from './control.js';
import { type ControlSide, differ, mayDiffer, readSide, sideOf } from './control-version.js';

/** The socket of a state directory. */
export const controlPath = (state: string): string => join(state, 'control.sock');

/** Of a request, bytes. */
const LONGEST_REQUEST = 65_536;
const MOST_CONNECTIONS = 64;
/** How long a connection may say nothing before its request, milliseconds. */
const REQUEST_TIMEOUT = 5_000;
/** How long what is being done may take when the process is about to end, milliseconds. */
const CLOSE_PATIENCE = 2_000;
/** How much may wait for somebody who does not read, bytes. */
const MOST_UNREAD = 4 << 20;

/**
 * Does what is asked.
 *
 * @param answer sends a line
 * @param signal aborts when whoever asked has gone
 */
export type ControlHandler = (
  request: ControlRequest,
  answer: (value: object) => void,
  signal: AbortSignal,
) => Promise<void>;

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
    throw new LametunError('usage', `${path} is too long for a socket: choose a shorter --state`);
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) unlinkSync(path);
  const connections = new Set<Connection>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    if (connections.size >= MOST_CONNECTIONS) {
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, handle, sideOf(program));
    connections.add(connection);
    socket.once('close', () => connections.delete(connection));
  });
  const before = process.umask(0o177); // of the whole process, for as long as it takes to bind, which is synchronous
  try {
    await listen(server, path, () => process.umask(before));
  } finally {
    process.umask(before);
  }
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const connection of connections) connection.stop();
      const patience = setTimeout(() => {
        for (const { socket } of connections) socket.destroy();
      }, CLOSE_PATIENCE);
      await closed;
      clearTimeout(patience);
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

/** One connection: a request, its answers, the end. */
class Connection {
  readonly socket: Socket;
  readonly #handle: ControlHandler;
  readonly #side: ControlSide;
  readonly #gone = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #text = '';
  #request: ControlRequest | 'none' | 'bad' = 'none';
  #isStopping = false;
  #hasSaidWho = false;

  constructor(socket: Socket, handle: ControlHandler, side: ControlSide) {
    this.socket = socket;
    this.#handle = handle;
    this.#side = side;
    this.#timer = setTimeout(() => socket.destroy(), REQUEST_TIMEOUT);
    socket.setEncoding('utf8');
    socket.on('error', () => {}); // it is closed next
    socket.on('close', () => {
      clearTimeout(this.#timer);
      this.#gone.abort();
    });
    socket.on('end', () => {
      this.#gone.abort(); // nobody half-closes who still wants to hear
      if (this.#request === 'none') socket.end();
    });
    socket.on('data', (chunk: string) => this.#read(chunk));
  }

  /** The process is about to end. */
  stop(): void {
    this.#isStopping = true;
    this.#gone.abort();
    if (typeof this.#request === 'string') this.socket.destroySoon();
  }

  #read(chunk: string): void {
    if (this.#request !== 'none') return;
    this.#text += chunk;
    const end = this.#text.indexOf('\n');
    if (end < 0 && this.#text.length <= LONGEST_REQUEST) return;
    clearTimeout(this.#timer);
    void this.#run(end < 0 ? '' : this.#text.slice(0, end));
  }

  async #run(line: string): Promise<void> {
    this.#request = 'bad';
    try {
      const request = parseRequest(line, this.#side);
      this.#request = request;
      await this.#handle(request, (value) => this.#send({ value }), this.#gone.signal);
      const isCutOff = this.#isStopping && ENDLESS.has(request.command);
      if (isCutOff) throw new LametunError('unreachable', 'lametun has ended');
      this.#send({ done: true });
    } catch (error) {
      this.#send({ error: describe(error) });
    }
    this.socket.end();
    if (this.#isStopping) this.socket.destroySoon();
  }

  #send(value: object): void {
    const { socket } = this;
    const line = this.#hasSaidWho ? value : { lametun: this.#side, ...value };
    this.#hasSaidWho = true;
    if (socket.writable && socket.writableLength < MOST_UNREAD) socket.write(`${JSON.stringify(line)}\n`);
    else this.#gone.abort();
  }
}

/** They go on until somebody ends them. */
const ENDLESS: ReadonlySet<ControlCommand> = new Set(['watch', 'ping']);

/** All of them: the compiler misses none. */
const COMMANDS: Readonly<Record<ControlCommand, true>> = {
  ...{ status: true, watch: true, ping: true, leave: true, share: true, trust: true },
  ...{ readdress: true, admin: true, backup: true },
};

/** @throws LametunError before anything is done, when it is not understood */
function parseRequest(line: string, ours: ControlSide): ControlRequest {
  let request: unknown;
  try {
    request = JSON.parse(line);
  } catch {
    throw new LametunError('protocol', 'a request is one line of JSON');
  }
  const { lametun, ...rest } = (request ?? {}) as { lametun?: unknown; command?: unknown };
  const theirs = readSide(lametun);
  if (theirs.protocol !== ours.protocol) throw differ(ours, theirs);
  const { command } = rest;
  if (typeof command !== 'string' || !Object.hasOwn(COMMANDS, command))
    throw new LametunError(
      'protocol',
      `the process that runs does not know "${command}": it is another version`,
    );
  return rest as ControlRequest; // from root, who may do anything: handlers check what they use
}

function describe(error: unknown): ControlError {
  if (error instanceof LametunError) return { code: error.code, message: error.message };
  return { code: 'internal', message: error instanceof Error ? error.message : String(error) };
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
  const path = controlPath(state);
  const socket = connect(path);
  const answers = new Answers(sideOf(program), onAnswer);
  const stop = (): void => void socket.destroy();
  signal?.addEventListener('abort', stop);
  if (signal?.aborted) stop();
  try {
    await new Promise<void>((resolve, reject) => {
      let text = '';
      socket.setEncoding('utf8');
      socket.once('connect', () =>
        socket.write(`${JSON.stringify({ ...request, lametun: sideOf(program) })}\n`),
      );
      socket.on('error', (error: NodeJS.ErrnoException) => reject(connectError(state, error)));
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

function connectError(state: string, error: NodeJS.ErrnoException): LametunError {
  const path = controlPath(state);
  if (error.code === 'EACCES' || error.code === 'EPERM')
    return new LametunError('usage', `${path} is root's: try sudo`, { cause: error });
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
