import type { Socket } from 'node:net';
import { LametunError } from '../../errors.js';
import { parse } from '../../protocol/parse.js';
import { type ControlCommand, type ControlError, type ControlRequest, controlRequest } from './control.js';
import { type ControlSide, differ, readSide, sideOf } from './control-version.js';

/** The longest request, bytes. */
const LONGEST_REQUEST = 65_536;
/** How long a connection may stay open without a request, milliseconds. */
const REQUEST_TIMEOUT = 5_000;
/** How long requests may take to finish when the process ends, milliseconds. */
const CLOSE_TIMEOUT = 2_000;
/** The most bytes that may wait for a slow reader. */
const MOST_UNREAD = 4 << 20;

/**
 * Carries out a request.
 *
 * @param answer sends an answer
 * @param signal aborts when the other end is gone
 */
export type ControlHandler = (
  request: ControlRequest,
  answer: (value: object) => void,
  signal: AbortSignal,
) => Promise<void>;

/** The connections of one listening socket. */
export class Connections {
  readonly #most: number;
  readonly #handle: ControlHandler;
  readonly #side: ControlSide;
  readonly #open = new Set<Connection>();

  /** @param most at once: further connections are closed */
  constructor(most: number, handle: ControlHandler, program: string | undefined) {
    this.#most = most;
    this.#handle = handle;
    this.#side = sideOf(program);
  }

  add(socket: Socket): void {
    if (this.#open.size >= this.#most) {
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, this.#handle, this.#side);
    this.#open.add(connection);
    socket.once('close', () => this.#open.delete(connection));
  }

  /** Ends endless requests, and lets the others finish. */
  async stop(): Promise<void> {
    const open = [...this.#open];
    const closed = open.map(({ socket }) => new Promise((resolve) => socket.once('close', resolve)));
    for (const connection of open) connection.stop();
    const timeout = setTimeout(() => {
      for (const { socket } of open) socket.destroy();
    }, CLOSE_TIMEOUT);
    await Promise.all(closed);
    clearTimeout(timeout);
  }
}

/** One connection: a request, its answers, the end. */
class Connection {
  readonly socket: Socket;
  readonly #handle: ControlHandler;
  readonly #side: ControlSide;
  readonly #gone = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #text = '';
  #request: ControlRequest | 'none' | 'invalid' = 'none';
  #isStopping = false;
  #hasSentSide = false;

  constructor(socket: Socket, handle: ControlHandler, side: ControlSide) {
    this.socket = socket;
    this.#handle = handle;
    this.#side = side;
    this.#timer = setTimeout(() => socket.destroy(), REQUEST_TIMEOUT);
    socket.setEncoding('utf8');
    socket.on('error', () => {}); // `close` follows
    socket.on('close', () => {
      clearTimeout(this.#timer);
      this.#gone.abort();
    });
    socket.on('end', () => {
      this.#gone.abort(); // a half-closed connection wants no more answers
      if (this.#request === 'none') socket.end();
    });
    socket.on('data', (chunk: string) => this.#read(chunk));
  }

  /** Called when the process ends. */
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
    this.#request = 'invalid';
    try {
      const request = parseRequest(line, this.#side);
      this.#request = request;
      await this.#handle(request, (value) => this.#send({ value }), this.#gone.signal);
      const isCutOff = this.#isStopping && ENDLESS.has(request.command);
      if (isCutOff) throw new LametunError('unreachable', 'lametun has stopped');
      this.#send({ done: true });
    } catch (error) {
      this.#send({ error: describe(error) });
    }
    this.socket.end();
    if (this.#isStopping) this.socket.destroySoon();
  }

  #send(value: object): void {
    const { socket } = this;
    const line = this.#hasSentSide ? value : { lametun: this.#side, ...value };
    this.#hasSentSide = true;
    if (socket.writable && socket.writableLength < MOST_UNREAD) socket.write(`${JSON.stringify(line)}\n`);
    else this.#gone.abort();
  }
}

/** Requests that go on until the other end closes the connection. */
const ENDLESS: ReadonlySet<ControlCommand> = new Set(['watch', 'ping']);

/** @throws LametunError before anything is done */
function parseRequest(line: string, ours: ControlSide): ControlRequest {
  let request: { readonly lametun?: unknown };
  try {
    request = JSON.parse(line) ?? {};
  } catch {
    throw new LametunError('protocol', 'a request must be one line of JSON');
  }
  const theirs = readSide(request.lametun);
  if (theirs.protocol !== ours.protocol) throw differ(ours, theirs);
  return parse(controlRequest, request);
}

function describe(error: unknown): ControlError {
  if (error instanceof LametunError) return { code: error.code, message: error.message };
  return { code: 'internal', message: error instanceof Error ? error.message : String(error) };
}
