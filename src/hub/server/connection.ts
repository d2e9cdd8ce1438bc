import type { Duplex } from 'node:stream';
import { LametunError } from '../../errors.js';
import { ChannelResponder, CLOSE_CODE, FIRST_MESSAGE, MESSAGE_LIMIT } from '../../protocol/channel.js';
import type { Hello, HubMessage, NodeMessage, Welcome } from '../../protocol/messages.js';
import { parseNodeMessage } from '../../protocol/schemas.js';
import { encodeJson } from '../../protocol/text.js';
import { ENVELOPE } from '../../protocol/transport.js';
import type { Crypto, PrivateKey } from '../../wireguard/crypto.js';
import type { Client } from '../machine/hub.js';
import { Bucket } from '../machine/limits.js';
import { Outgoing } from '../machine/outgoing.js';
import { HubWebSocket, type Pace } from './web-socket.js';

/** What a connection tells the server. */
export interface ConnectionEvents {
  /** It has proved a key. Anybody who knows the hub's has one. */
  opened(connection: Connection): void;
  /** It is a member's. */
  admitted(connection: Connection): void;
  message(connection: Connection, message: NodeMessage): Promise<void>;
  frame(connection: Connection, to: number, datagram: Uint8Array): void;
  /** It is over, and why: to be counted. */
  closed(connection: Connection, why: Ending): void;
}

export const ENDINGS = [
  'gone', // closed by the other side, or the network
  'closed', // by us, as it should be
  'bad-handshake',
  'bad-version',
  'bad-message',
  'too-many', // messages, faster than they are answered, or frames of a guest
  'backlog', // it reads too slowly
  'silent', // not heard of for too long
  'guest', // no member for too long, or one of too many who are none
] as const;
export type Ending = (typeof ENDINGS)[number];

/** Requests of one node: as many at once, and then as many a second. Beyond that they are refused. */
const REQUESTS = { burst: 60, rate: 10 } as const;
/** Requests that wait for their turn. Who sends more does not wait for answers. */
const WAITING = 32;
/**
 * What may come through one connection, by who is there: a stranger, who has not proved a key; a guest, who has, and is no
 * member; a member, who is slowed down to 12 000 relay frames a second: 120 Mbit/s, and less than half of what this thread can do.
 */
const PACE = {
  stranger: { longest: FIRST_MESSAGE, rate: 1, burst: 8, patience: false },
  guest: { longest: MESSAGE_LIMIT.fromGuest + ENVELOPE, rate: 10, burst: 100, patience: false },
  member: { longest: MESSAGE_LIMIT.fromNode + ENVELOPE, rate: 12_000, burst: 4_000, patience: true },
} as const satisfies Record<string, Pace>;
/** Bytes under way to one guest, who is sent short answers only. */
const GUEST_BACKLOG = 32 << 10;
/** The same for a member. A map is made only when the one before has been taken, so more than this is no map. */
const BACKLOG = MESSAGE_LIMIT.fromHub + (4 << 20);
/** Beyond this, frames are dropped, as a full link would. */
const FRAME_BACKLOG = 256 << 10;
/** Milliseconds. */
const PING_AFTER = 40_000;
const SILENT_AFTER = 70_000;
const STALLED_AFTER = 30_000;

/** One WebSocket, from its upgrade to its end. */
export class Connection implements Client {
  readonly remote: string;
  /** Base64; empty until the channel is open. */
  key = '';
  /** Frames that were dropped because it reads too slowly. */
  droppedFrames = 0;
  readonly #socket: HubWebSocket;
  #corked = false;
  readonly #channel: ChannelResponder;
  readonly #events: ConnectionEvents;
  readonly #outgoing: Outgoing;
  readonly #requests: Bucket;
  #lastRequest: Promise<void> = Promise.resolve();
  #waiting = 0;
  #heard: number;
  #pinged = false;
  #isGuest = true;
  #ended = false;

  constructor(
    stream: Duplex,
    remote: string,
    { crypto, privateKey, answer }: ConnectionKeys,
    events: ConnectionEvents,
  ) {
    this.remote = remote;
    this.#channel = new ChannelResponder(crypto, privateKey, (_, hello) => answer(hello));
    this.#events = events;
    this.#heard = performance.now();
    this.#requests = new Bucket(REQUESTS.rate, REQUESTS.burst, this.#heard);
    this.#socket = new HubWebSocket(stream, PACE.stranger, {
      message: (bytes) => this.#receive(bytes),
      heard: () => this.#heardOf(),
      failed: () => this.#end(this.key === '' ? 'bad-handshake' : 'bad-message', CLOSE_CODE.protocol),
      flooded: () => this.#abort('too-many'),
      closed: () => this.#finish('gone'),
    });
    this.#outgoing = new Outgoing(this.#socket);
  }

  /** Begins to read: what came behind the upgrade, and then the rest. */
  start(rest: Uint8Array): void {
    this.#socket.start(rest);
  }

  send(message: HubMessage): void {
    this.#send(() => this.#channel.sealJson(encodeJson(message)));
  }

  sendEncoded(message: Uint8Array, done: () => void): void {
    if (this.#ended) done();
    else this.#send(() => this.#channel.sealJson(message), done);
  }

  sendFrame(from: number, datagram: Uint8Array): void {
    if (this.#ended) return;
    if (this.#outgoing.length > FRAME_BACKLOG) {
      this.droppedFrames++;
      return;
    }
    this.#cork();
    this.#send(() => [this.#channel.sealFrame(from, datagram)]);
  }

  /** Frames come in bunches: all of one turn of the event loop go out together. */
  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
    setImmediate(() => {
      this.#corked = false;
      this.#socket.uncork();
    });
  }

  admit(): void {
    if (this.#ended || !this.#isGuest) return;
    this.#isGuest = false;
    this.#channel.admit();
    this.#socket.pace = PACE.member;
    this.#events.admitted(this);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Closes at once: somebody who has stayed too long without being a member. */
  crowdOut(): void {
    this.#abort('guest');
  }

  /** Closes when all that was sent has gone out. */
  close(): void {
    this.#end('closed', 1000);
  }

  /** Looks whether anybody is there still. */
  check(now: number): void {
    const silence = now - this.#heard;
    if (this.#outgoing.stalledFor(now) > STALLED_AFTER) this.#abort('backlog');
    else if (silence > SILENT_AFTER) this.#abort('silent');
    else if (silence > PING_AFTER && !this.#pinged) {
      this.#pinged = true;
      this.#socket.ping();
    }
  }

  #send(seal: () => Uint8Array[], done?: () => void): void {
    if (this.#ended) return;
    this.#outgoing.push(seal(), done);
    if (this.#outgoing.length > (this.#isGuest ? GUEST_BACKLOG : BACKLOG)) this.#abort('backlog');
  }

  #receive(data: Uint8Array): void {
    this.#heardOf();
    for (const event of this.#channel.handle(data)) {
      switch (event.kind) {
        case 'send':
          this.#socket.pace = PACE.guest;
          this.#outgoing.push([event.bytes]);
          break;
        case 'open':
          this.key = Buffer.from(event.remoteKey).toString('base64');
          this.#events.opened(this);
          break;
        case 'message':
          this.#request(event.value);
          break;
        case 'frame':
          if (this.#isGuest) {
            this.#end('bad-message', CLOSE_CODE.protocol); // nodes send none before they are attached
            return;
          }
          this.#events.frame(this, event.peer, event.datagram);
          break;
        case 'failed':
          this.#end(
            event.why === 'version' ? 'bad-version' : this.key === '' ? 'bad-handshake' : 'bad-message',
            CLOSE_CODE[event.why],
          );
          return;
      }
    }
  }

  #heardOf(): void {
    this.#heard = performance.now();
    this.#pinged = false;
  }

  #request(value: unknown): void {
    let message: NodeMessage;
    try {
      message = parseNodeMessage(value);
    } catch (error) {
      if (!(error instanceof LametunError)) throw error;
      this.#malformed(value, error.message);
      return;
    }
    if (!this.#requests.take(performance.now())) {
      this.send({
        type: 'refused',
        re: message.id,
        code: 'too-many',
        message: 'too many requests: slow down',
      });
      if (++this.#excess > WAITING) this.#end('too-many', CLOSE_CODE.protocol);
      return;
    }
    if (this.#waiting >= WAITING) {
      this.#end('too-many', CLOSE_CODE.protocol);
      return;
    }
    this.#excess = 0;
    this.#waiting++;
    this.#lastRequest = this.#lastRequest.then(async () => {
      if (!this.#ended) await this.#events.message(this, message);
      this.#waiting--;
    });
  }

  /** Requests in a row that were refused for being too many. */
  #excess = 0;

  /** A request that is not what it should be is answered, where it can be: the node may be a newer one. */
  #malformed(value: unknown, why: string): void {
    const id = (value as { id?: unknown } | null)?.id;
    if (Number.isSafeInteger(id) && (id as number) >= 0 && this.#requests.take(performance.now())) {
      this.send({ type: 'refused', re: id as number, code: 'bad-request', message: why.slice(0, 400) });
    } else this.#end('bad-message', CLOSE_CODE.protocol);
  }

  #end(why: Ending, code: number): void {
    if (this.#ended) return;
    this.#finish(why);
    // A close frame goes behind what is queued; whoever does not take it is cut off.
    this.#outgoing.flush(() => this.#socket.close(code));
    setTimeout(() => this.#socket.terminate(), CLOSE_TIMEOUT).unref();
  }

  #abort(why: Ending): void {
    this.#finish(why);
    this.#outgoing.drop();
    this.#socket.terminate();
  }

  #finish(why: Ending): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#channel.close();
    this.#events.closed(this, why);
  }
}

const CLOSE_TIMEOUT = 2_000;

export interface ConnectionKeys {
  readonly crypto: Crypto;
  readonly privateKey: PrivateKey;
  readonly answer: (hello: Hello) => Welcome;
}
