import type { Duplex } from 'node:stream';
import { closeFrame, frameHeader, OPCODE, smallFrame, WebSocketReader } from '../../protocol/websocket.js';
import { TokenBucket } from '../../token-bucket.js';
import type { Carrier, Pace } from '../machine/session.js';

export interface WebSocketHandlers {
  /** One whole message. It is overwritten after this returns. */
  handle(bytes: Uint8Array, now: number): void;
  /** Something else arrived: the other side is alive. */
  heard(now: number): void;
  /** The input is invalid or too long. */
  failed(): void;
  /** Too many frames arrived for a pace without `patience`. */
  flooded(): void;
  /** The TCP connection has ended. */
  closed(): void;
}

/** Frames of one connection before the others have their turn. */
const TURN = 64;
/** The shortest wait for the pace, milliseconds: then several frames are due, not just one. */
const SHORTEST_WAIT = 5;
/** Pings are answered while at most this much waits to be sent, bytes. */
const PONG_ROOM = 16 << 10;
/** Up to this length, header and payload are joined, bytes. */
const SMALL = 4 << 10;
/** How long the other side may take to close, milliseconds. */
const CLOSE_TIMEOUT = 2_000;

/** The hub's end of a WebSocket after its upgrade. It reads in turns, and no faster than its pace. */
export class HubWebSocket implements Carrier {
  readonly #stream: Duplex;
  readonly #handlers: WebSocketHandlers;
  readonly #reader: WebSocketReader;
  #pace: Pace;
  #bucket: TokenBucket;
  #isCorked = false;
  #isClosing = false;
  #isOver = false;
  #immediate: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: Duplex, pace: Pace, handlers: WebSocketHandlers) {
    this.#stream = stream;
    this.#handlers = handlers;
    this.#pace = pace;
    this.#bucket = new TokenBucket(pace);
    this.#reader = new WebSocketReader(pace.longest);
    stream.on('data', (chunk: Buffer) => {
      // A destroyed stream still delivers its buffer.
      if (!this.#isOver && !stream.destroyed) this.#read(chunk);
    });
    stream.once('end', () => stream.end());
    stream.once('close', () => this.#closed());
  }

  /** Starts to read, first the bytes behind the upgrade. */
  start(rest: Uint8Array): void {
    this.#read(rest);
  }

  set pace(pace: Pace) {
    this.#pace = pace;
    this.#bucket = new TokenBucket(pace);
    this.#reader.limit = pace.longest;
  }

  send(bytes: Uint8Array, taken: (error?: Error | null) => void): void {
    if (bytes.length <= SMALL) {
      this.#stream.write(smallFrame(OPCODE.binary, bytes), taken);
      return;
    }
    this.#stream.cork();
    this.#stream.write(frameHeader(OPCODE.binary, bytes.length));
    this.#stream.write(bytes, taken);
    this.#stream.uncork();
  }

  ping(): void {
    this.#stream.write(smallFrame(OPCODE.ping, new Uint8Array(0)));
  }

  cork(): void {
    if (this.#isCorked) return;
    this.#isCorked = true;
    this.#stream.cork();
    setImmediate(() => {
      this.#isCorked = false;
      this.#stream.uncork();
    });
  }

  /** Closes after everything was sent, and disconnects a client that does not close in turn. */
  close(code: number): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#stream.write(closeFrame(code));
    this.terminateLater();
  }

  terminate(): void {
    this.#stream.destroy();
  }

  terminateLater(): void {
    setTimeout(() => this.#stream.destroy(), CLOSE_TIMEOUT).unref();
  }

  #read(chunk: Uint8Array): void {
    this.#reader.push(chunk);
    this.#work();
  }

  #work(): void {
    const now = performance.now();
    for (let frames = 0; frames < TURN; frames++) {
      const event = this.#reader.next();
      if (event === undefined) {
        this.#stream.resume();
        return;
      }
      const isInTime = this.#bucket.spend(now);
      if (!isInTime && !this.#pace.patience) {
        this.#handlers.flooded();
        return;
      }
      switch (event.kind) {
        case 'message':
          if (!this.#isClosing) this.#handlers.handle(event.bytes, now);
          break;
        case 'ping':
          this.#handlers.heard(now);
          if (this.#stream.writableLength < PONG_ROOM)
            this.#stream.write(smallFrame(OPCODE.pong, event.bytes));
          break;
        case 'pong':
          this.#handlers.heard(now);
          break;
        case 'close':
          this.#over(event.code);
          return;
        case 'failed':
          this.#handlers.failed();
          this.#over(event.code);
          return;
      }
      if (this.#stream.destroyed) return;
      if (!isInTime) {
        this.#later(Math.max(SHORTEST_WAIT, this.#bucket.wait(now)));
        return;
      }
    }
    this.#later(0);
  }

  /** Continues in its next turn; TCP slows the other side down. */
  #later(milliseconds: number): void {
    this.#stream.pause();
    if (milliseconds === 0) this.#immediate = setImmediate(() => this.#work());
    else this.#timer = setTimeout(() => this.#work(), milliseconds);
  }

  /** Ignores all further input. */
  #over(code: number): void {
    this.#isOver = true;
    if (!this.#isClosing) this.#stream.write(closeFrame(code));
    this.#isClosing = true;
    this.#stream.resume();
    this.#stream.end();
    this.terminateLater();
  }

  #closed(): void {
    this.#isOver = true;
    clearImmediate(this.#immediate);
    clearTimeout(this.#timer);
    this.#handlers.closed();
  }
}
