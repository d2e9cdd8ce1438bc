import { UAPI_ERRNO, UapiError } from './error.js';
import { describe, describeDrops } from './get.js';
import { LineSplitter } from './lines.js';
import { type SetContext, SetRequest } from './set.js';

/**
 * The configuration protocol on one connection, https://www.wireguard.com/xplatform/, sans-I/O.
 *
 * Contract: pass input to `handle`, and call `end` at its end. Send everything that these yield, in order, and ask for
 * the next part only after the previous one was sent, so that nothing piles up. Erase all input and output. When
 * `isOver`, close the connection.
 *
 * Requests end with an empty line: `set=1` and its lines, `get=1`, and beyond the standard `get=drops`. An unknown
 * first line ends the connection, as with wireguard-go. A wrong line of a `set=1` is answered at once, and the rest of
 * the request skipped.
 */
export class UapiSession {
  isOver = false;
  readonly #context: SetContext;
  readonly #lines = new LineSplitter();
  #state: 'idle' | 'set' | 'skip' | 'get' | 'drops' = 'idle';
  #request: SetRequest | undefined;

  constructor(context: SetContext) {
    this.#context = context;
  }

  *handle(chunk: Buffer): Generator<Buffer, void, void> {
    for (const line of this.#lines.lines(chunk)) {
      if (line === 'too-long') {
        this.isOver = true;
        yield* this.#fail(new UapiError(UAPI_ERRNO.io, 'a line is too long'));
      } else {
        const answers = this.#line(line);
        if (answers !== NOTHING) yield* answers;
      }
      if (this.isOver) return this.#lines.erase();
    }
  }

  /** The input has ended. A request that lacks only its empty line counts; an incomplete line does not. */
  *end(): Generator<Buffer, void, void> {
    this.#lines.erase();
    if (this.#state === 'set') yield* this.#endSet(0);
    this.isOver = true;
  }

  /** The connection broke. */
  abort(): void {
    this.#lines.erase();
    this.#request?.end();
    this.#request = undefined;
  }

  /** Answers are rare, and a generator for each of 65 000 lines is slow, so only answers make one. */
  #line(line: Buffer): Iterable<Buffer> {
    switch (this.#state) {
      case 'idle':
        this.#begin(line);
        return NOTHING;
      case 'set':
        return this.#setLine(line);
      case 'skip':
        // Neither is a line of a request, so a new request has begun before the last one was finished.
        if (isText(line, 'set=1') || isText(line, 'get=1')) this.#begin(line);
        else if (line.length === 0) this.#state = 'idle';
        return NOTHING;
      default:
        return this.#get(line, this.#state);
    }
  }

  #begin(line: Buffer): void {
    const state = OPERATIONS.find(([text]) => isText(line, text))?.[1];
    this.#state = state ?? 'idle';
    if (state === 'set') this.#request = new SetRequest(this.#context);
    if (state !== undefined) return;
    this.#context.log.error('invalid UAPI operation');
    this.isOver = true;
  }

  #setLine(line: Buffer): Iterable<Buffer> {
    if (line.length === 0 || isText(line, '\r')) return this.#endSet(0);
    try {
      this.#request?.line(line);
      return NOTHING;
    } catch (error) {
      if (!(error instanceof UapiError)) throw error;
      return this.#fail(error);
    }
  }

  *#get(line: Buffer, what: 'get' | 'drops'): Generator<Buffer, void, void> {
    this.#state = 'idle';
    if (line.length > 0)
      return yield* this.#fail(new UapiError(UAPI_ERRNO.invalid, 'trailing text in UAPI get'));
    if (what === 'get') yield* describe(this.#context.device);
    else yield describeDrops(this.#context.device);
    yield answer(0);
  }

  *#endSet(errno: number): Generator<Buffer, void, void> {
    this.#request?.end();
    this.#request = undefined;
    this.#state = errno === 0 ? 'idle' : 'skip';
    yield answer(errno);
  }

  *#fail(error: UapiError): Generator<Buffer, void, void> {
    this.#context.log.error(`IPC error -${error.errno}: ${error.message}`);
    if (this.#state === 'set') yield* this.#endSet(error.errno);
    else yield answer(error.errno);
  }
}

const NOTHING: Iterable<Buffer> = [];

const OPERATIONS = [
  ['set=1', 'set'],
  ['get=1', 'get'],
  ['get=drops', 'drops'],
] as const;

const answer = (errno: number): Buffer => Buffer.from(`errno=${errno === 0 ? 0 : -errno}\n\n`);

const isText = (line: Buffer, text: string): boolean =>
  line.length === text.length && line.toString('latin1') === text;
