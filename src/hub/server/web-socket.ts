import type { Duplex } from 'node:stream';
import { closeFrame, frameHeader, OPCODE, smallFrame, WebSocketReader } from '../../protocol/websocket.js';
import { TokenBucket } from '../../token-bucket.js';
import type { Carrier, Pace } from '../machine/session.js';

export interface WebSocketHandlers {
  /** One whole message. It is overwritten after this returns. */
  handle(bytes: Uint8Array, now: number): void;
  /** Something else came: it is there still. */
  heard(now: number): void;
  /** What came is no WebSocket's, or longer than it may be. */
  failed(): void;
  /** More frames came than may: without `patience` in the pace that it has. */
  flooded(): void;
  /** The TCP connection is over. */
  closed(): void;
}

/** Frames of one connection before the others have their turn. */
const TURN = 64;
/** How long is waited for room at least, milliseconds: some frames come due then, and not one. */
const SHORTEST_WAIT = 5;
/** Pings are answered while no more waits to be sent than this, bytes. */
const PONG_ROOM = 16 << 10;
/** Up to this length header and payload are put together, bytes. */
const SMALL = 4 << 10;
/** For the other side to close, milliseconds. */
const CLOSE_TIMEOUT = 2_000;

/** The hub's end of a WebSocket, after its upgrade. It reads in turns, and not faster than its pace. */
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
      // A stream that has been destroyed gives what it had buffered.
      if (!this.#isOver && !stream.destroyed) this.#read(chunk);
    });
    stream.once('end', () => stream.end());
    stream.once('close', () => this.#closed());
  }

  /** Begins to read: what came behind the upgrade, and then the rest. */
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

  /** Closes behind what was sent; whoever does not close in turn is cut off. */
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

  /** Reads on in its next turn; TCP slows the other side down. */
  #later(milliseconds: number): void {
    this.#stream.pause();
    if (milliseconds === 0) this.#immediate = setImmediate(() => this.#work());
    else this.#timer = setTimeout(() => this.#work(), milliseconds);
  }

  /** Nothing that comes from now on is looked at. */
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
