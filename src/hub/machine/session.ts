import { LametunError } from '../../errors.js';
import { ChannelResponder, CLOSE_CODE, FIRST_MESSAGE, MESSAGE_LIMIT } from '../../protocol/channel.js';
import type { Hello, HubMessage, NodeMessage, Welcome } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import { parseNodeMessage } from '../../protocol/parse.js';
import { encodeBase64, encodeJson } from '../../protocol/text.js';
import { ENVELOPE } from '../../protocol/transport.js';
import { type Rate, TokenBucket } from '../../token-bucket.js';
import type { Crypto, PrivateKey } from '../../wireguard/crypto.js';
import type { Client } from './hub.js';
import { Outgoing, type Sink } from './outgoing.js';

/** Limits for what arrives through a connection. */
export interface Pace extends Rate {
  /** The longest message, bytes. Rate and burst count frames. */
  readonly longest: number;
  /** Whether excess frames are read later. Otherwise the session is `flooded`. */
  readonly patience: boolean;
}

/** A connection that carries whole messages, a WebSocket, as its session uses it. */
export interface Carrier extends Sink {
  /** At first that of a stranger. */
  set pace(pace: Pace);
  /** Holds output back until the end of this turn of the event loop, so that it goes out together. */
  cork(): void;
  ping(): void;
  /** Closes after everything was sent. */
  close(code: number): void;
  terminate(): void;
  /** Terminates after a while, in case the client does not read what was sent. */
  terminateLater(): void;
}

/** What a session tells the server. */
export interface SessionEvents {
  /** The client has proved a key, as anyone can who knows the hub's. */
  opened(session: Session, now: number): void;
  /** The client is a member. */
  admitted(session: Session): void;
  message(session: Session, message: NodeMessage): Promise<void>;
  frame(session: Session, to: NodeId, datagram: Uint8Array): void;
  /** The session has ended. The reason is counted. */
  closed(session: Session, why: Ending): void;
}

export interface SessionKeys {
  readonly crypto: Crypto;
  readonly privateKey: PrivateKey;
  readonly answer: (hello: Hello) => Welcome;
}

export const ENDINGS = [
  'gone', // closed by the other side, or the network
  'closed', // by the hub, as intended
  'bad-handshake',
  'bad-version',
  'bad-message',
  'too-many', // messages, faster than they are answered, or frames of a guest
  'backlog', // it reads too slowly
  'silent', // nothing was heard from it for too long
  'guest', // not a member for too long, or one guest too many
] as const;
export type Ending = (typeof ENDINGS)[number];

/** How many requests a node may send, at once and per second. Excess ones are refused. */
const REQUESTS = { burst: 60, rate: 10 } as const;
/** The most requests that may wait. A client that sends more is not waiting for answers. */
const WAITING = 32;
/**
 * Limits for one connection. A stranger has not proved a key. A guest has, but is not a member. A member may send
 * 12,000 relay frames per second, 120 Mbit/s: less than half of what this thread can handle.
 */
export const PACE = {
  stranger: { longest: FIRST_MESSAGE, rate: 1, burst: 8, patience: false },
  guest: { longest: MESSAGE_LIMIT.fromGuest + ENVELOPE, rate: 10, burst: 100, patience: false },
  member: { longest: MESSAGE_LIMIT.fromNode + ENVELOPE, rate: 12_000, burst: 4_000, patience: true },
} as const satisfies Record<string, Pace>;
/** The most bytes queued for a guest, which gets only short answers. */
const GUEST_BACKLOG = 32 << 10;
/** The same for a member. A map is made only when the previous one has gone out, so maps alone cannot exceed this. */
const BACKLOG = MESSAGE_LIMIT.fromHub + (4 << 20);
/** Above this, frames are dropped, as on a congested link. */
const FRAME_BACKLOG = 256 << 10;
/** Milliseconds. */
const PING_AFTER = 40_000;
const SILENT_AFTER = 70_000;
const STALLED_AFTER = 30_000;

/**
 * One client's connection from its first message to its end: the channel, requests one at a time, and the reasons to
 * end it. Pass input to `handle`, `heard`, `failed`, `flooded` and `closed`, and call `check` every few seconds. Output
 * goes to the carrier.
 */
export class Session implements Client {
  readonly remote: string;
  /** Base64; empty until the channel is open. */
  key = '';
  /** Frames that were dropped because the client reads too slowly. */
  droppedFrames = 0;
  readonly #carrier: Carrier;
  readonly #channel: ChannelResponder;
  readonly #events: SessionEvents;
  readonly #outgoing: Outgoing;
  readonly #requests: TokenBucket;
  #lastRequest: Promise<void> = Promise.resolve();
  #waiting = 0;
  /** Requests in a row that were refused for being too many. */
  #excess = 0;
  #heard: number;
  #pinged = false;
  #isGuest = true;
  #ended = false;

  constructor(
    carrier: Carrier,
    remote: string,
    { crypto, privateKey, answer }: SessionKeys,
    events: SessionEvents,
    now: number,
  ) {
    this.remote = remote;
    this.#carrier = carrier;
    this.#channel = new ChannelResponder(crypto, privateKey, (_, hello) => answer(hello));
    this.#events = events;
    this.#outgoing = new Outgoing(carrier);
    this.#requests = new TokenBucket(REQUESTS);
    this.#heard = now;
  }

  /** @param data one whole message; it is overwritten */
  handle(data: Uint8Array, now: number): void {
    this.heard(now);
    for (const event of this.#channel.handle(data)) {
      switch (event.kind) {
        case 'send':
          this.#carrier.pace = PACE.guest;
          this.#outgoing.push([event.bytes]);
          break;
        case 'open':
          this.key = encodeBase64(event.remoteKey);
          this.#events.opened(this, now);
          break;
        case 'message':
          this.#request(event.value, now);
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

  /** Something other than a message arrived: the client is still there. */
  heard(now: number): void {
    this.#heard = now;
    this.#pinged = false;
  }

  /** The input is invalid or too long. */
  failed(): void {
    this.#end(this.key === '' ? 'bad-handshake' : 'bad-message', CLOSE_CODE.protocol);
  }

  /** More frames arrived than the pace allows. */
  flooded(): void {
    this.#abort('too-many');
  }

  /** The connection is over. */
  closed(): void {
    this.#finish('gone');
  }

  send(message: HubMessage): void {
    if (!this.#ended) this.#push(this.#channel.sealJson(encodeJson(message)));
  }

  sendEncoded(message: Uint8Array, done: () => void): void {
    if (this.#ended) done();
    else this.#push(this.#channel.sealJson(message), done);
  }

  sendFrame(from: NodeId, datagram: Uint8Array): void {
    if (this.#ended) return;
    if (this.#outgoing.length > FRAME_BACKLOG) {
      this.droppedFrames++;
      return;
    }
    this.#carrier.cork();
    this.#push([this.#channel.sealFrame(from, datagram)]);
  }

  admit(): void {
    if (this.#ended || !this.#isGuest) return;
    this.#isGuest = false;
    this.#channel.admit();
    this.#carrier.pace = PACE.member;
    this.#events.admitted(this);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Closes at once: the client has been a guest for too long. */
  crowdOut(): void {
    this.#abort('guest');
  }

  /** Closes once everything is sent. */
  close(): void {
    this.#end('closed', 1000);
  }

  /** Checks whether the client is still there, and reads. */
  check(now: number): void {
    const silence = now - this.#heard;
    if (this.#outgoing.stalledFor(now) > STALLED_AFTER) this.#abort('backlog');
    else if (silence > SILENT_AFTER) this.#abort('silent');
    else if (silence > PING_AFTER && !this.#pinged) {
      this.#pinged = true;
      this.#carrier.ping();
    }
  }

  #push(sealed: readonly Uint8Array[], done?: () => void): void {
    this.#outgoing.push(sealed, done);
    if (this.#outgoing.length > (this.#isGuest ? GUEST_BACKLOG : BACKLOG)) this.#abort('backlog');
  }

  #request(value: unknown, now: number): void {
    let message: NodeMessage;
    try {
      message = parseNodeMessage(value);
    } catch (error) {
      if (!(error instanceof LametunError)) throw error;
      this.#malformed(value, error.message, now);
      return;
    }
    if (!this.#requests.take(now)) {
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

  /** Answers an invalid request if it has a number: the node may be newer than the hub. */
  #malformed(value: unknown, why: string, now: number): void {
    const id = (value as { id?: unknown } | null)?.id;
    if (Number.isSafeInteger(id) && (id as number) >= 0 && this.#requests.take(now)) {
      this.send({ type: 'refused', re: id as number, code: 'bad-request', message: why.slice(0, 400) });
    } else this.#end('bad-message', CLOSE_CODE.protocol);
  }

  #end(why: Ending, code: number): void {
    if (this.#ended) return;
    this.#finish(why);
    this.#carrier.terminateLater();
    this.#outgoing.flush(() => this.#carrier.close(code));
  }

  #abort(why: Ending): void {
    this.#finish(why);
    this.#outgoing.drop();
    this.#carrier.terminate();
  }

  #finish(why: Ending): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#channel.close();
    this.#events.closed(this, why);
  }
}
