import type { Socket } from 'node:net';
import { LametunError } from '../../errors.js';
import type { ControlCommand, ControlError, ControlRequest } from './control.js';
import { type ControlSide, differ, readSide, sideOf } from './control-version.js';

/** Of a request, bytes. */
const LONGEST_REQUEST = 65_536;
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

/** The connections of one listening socket. */
export class Connections {
  readonly #most: number;
  readonly #handle: ControlHandler;
  readonly #side: ControlSide;
  readonly #open = new Set<Connection>();

  /** @param most at once; what comes beyond is closed */
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

  /** What would go on without end is ended, what is being done may finish. */
  async stop(): Promise<void> {
    const open = [...this.#open];
    const closed = open.map(({ socket }) => new Promise((resolve) => socket.once('close', resolve)));
    for (const connection of open) connection.stop();
    const patience = setTimeout(() => {
      for (const { socket } of open) socket.destroy();
    }, CLOSE_PATIENCE);
    await Promise.all(closed);
    clearTimeout(patience);
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
  return rest as ControlRequest; // handlers check what they use
}

function describe(error: unknown): ControlError {
  if (error instanceof LametunError) return { code: error.code, message: error.message };
  return { code: 'internal', message: error instanceof Error ? error.message : String(error) };
}
