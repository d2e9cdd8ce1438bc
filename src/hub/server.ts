import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { LametunError } from '../errors.js';
import { limitSegments } from '../linux/socket-options.js';
import { CHANNEL_PATH } from '../wire/channel.js';
import {
  Connection,
  type ConnectionEvents,
  type ConnectionKeys,
  ENDINGS,
  type Ending,
} from './connection.js';
import { isLoopback } from './public-addresses.js';

export interface ServerOptions extends ConnectionKeys {
  /** TCP, on every address of the machine; 0 lets the kernel choose one. */
  readonly port: number;
  readonly events: Pick<ConnectionEvents, 'message' | 'frame'> & { closed(connection: Connection): void };
  /** How long one with a key may take to be a member; two minutes unless given. Milliseconds. */
  readonly guestPatience?: number;
  /** How many such there can be; 8192 unless given. */
  readonly maxGuests?: number;
}

/** What strangers and members did, each by how it ended. */
export type ServerCounters = Readonly<
  Record<
    Ending | 'connections' | 'opened' | 'plain-http' | 'bad-upgrade' | 'crowded-out' | 'too-slow',
    number
  >
>;

/** TCP connections that have not proved a key yet. When there are more, the oldest goes: an honest one takes moments. */
const STRANGERS = 8_192;
/** How long one may take to prove its key, milliseconds. */
const PATIENCE = 10_000;
/**
 * The same for connections that have a key and are no member's: everyone can make himself a key, and who was a member
 * once, or has a token that is good no more, knows the hub's. To join takes three answers of a hub that may be busy.
 */
const GUESTS = 8_192;
const GUEST_PATIENCE = 120_000;
/** A Noise message, which is the longest that there is. */
const MAX_PAYLOAD = 65_535;
const CHECK_INTERVAL = 1_000;
/** Between two looks at every open connection. */
const SWEEP_INTERVAL = 5_000;
const BACKLOG = 4_096;

/** The hub's one TCP port: WebSockets that carry channels, and for anything else a short answer. */
export class HubServer {
  readonly port: number;
  readonly #http: Server;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_PAYLOAD,
    clientTracking: false,
  });
  readonly #options: ServerOptions;
  /** Since when each is there, the oldest first. */
  readonly #strangers = new Map<Duplex, number>();
  readonly #open = new Set<Connection>();
  /** Those of them that are no member's, and since when, the oldest first. */
  readonly #guests = new Map<Connection, number>();
  readonly #counters = Object.fromEntries(
    [...ENDINGS, 'connections', 'opened', 'plain-http', 'bad-upgrade', 'crowded-out', 'too-slow'].map(
      (name) => [name, 0],
    ),
  ) as { -readonly [Name in keyof ServerCounters]: number };
  readonly #timer: NodeJS.Timeout;
  #swept = Date.now();

  private constructor(http: Server, options: ServerOptions) {
    this.port = (http.address() as AddressInfo).port;
    this.#http = http;
    this.#options = options;
    http.on('connection', (socket: Socket) => this.#connected(socket));
    http.on('request', (_, response) => {
      this.#counters['plain-http']++;
      response.writeHead(404, { 'content-type': 'text/plain', connection: 'close' }).end('not found\n');
    });
    http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    http.on('clientError', (_, socket) => socket.destroy());
    http.on('error', () => {}); // accepting one connection failed, for want of descriptors
    this.#timer = setInterval(() => this.#check(Date.now()), CHECK_INTERVAL).unref();
  }

  /** @throws LametunError `usage` when the port cannot be had */
  static async listen(options: ServerOptions): Promise<HubServer> {
    const http = createServer({ headersTimeout: PATIENCE, requestTimeout: PATIENCE, keepAliveTimeout: 1 });
    http.maxHeadersCount = 50;
    for (const host of ['::', '0.0.0.0']) {
      try {
        http.listen({ port: options.port, host, backlog: BACKLOG, exclusive: true });
        await once(http, 'listening');
        limitSegments((http as unknown as { readonly _handle: { readonly fd: number } })._handle.fd);
        return new HubServer(http, options);
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (host === '::' && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL')) continue; // no IPv6 here
        throw whyNoPort(error as NodeJS.ErrnoException, options.port, 'TCP');
      }
    }
    throw new LametunError('linux', 'this machine has neither IPv6 nor IPv4');
  }

  counters(): ServerCounters {
    return { ...this.#counters };
  }

  /** How many have proved a key. */
  get open(): number {
    return this.#open.size;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    const closed = once(this.#http, 'close');
    this.#http.close();
    for (const connection of [...this.#open]) connection.close();
    for (const socket of [...this.#strangers.keys()]) socket.destroy();
    this.#strangers.clear();
    setTimeout(() => this.#http.closeAllConnections(), CHECK_INTERVAL).unref();
    for (const socket of this.#upgraded) setTimeout(() => socket.destroy(), CHECK_INTERVAL).unref();
    await closed;
  }

  /** TCP connections that are WebSockets now: the HTTP server has let go of them, and waits for them still. */
  readonly #upgraded = new Set<Duplex>();

  #connected(socket: Socket): void {
    this.#counters.connections++;
    socket.setNoDelay(true);
    this.#strangers.set(socket, Date.now());
    socket.once('close', () => this.#strangers.delete(socket));
    if (this.#strangers.size > STRANGERS) {
      const [oldest] = this.#strangers.keys();
      this.#counters['crowded-out']++;
      this.#strangers.delete(oldest!);
      oldest!.destroy();
    }
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    const path = request.url?.split('?')[0];
    if (path !== CHANNEL_PATH || request.headers.upgrade?.toLowerCase() !== 'websocket') {
      this.#counters['bad-upgrade']++;
      socket.end(`HTTP/1.1 404 ${STATUS_CODES[404]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    this.#upgraded.add(socket);
    socket.once('close', () => this.#upgraded.delete(socket));
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      new Connection(webSocket, socket, remoteOf(request), this.#options, {
        ...this.#options.events,
        opened: (connection) => {
          this.#strangers.delete(socket);
          this.#open.add(connection);
          this.#counters.opened++;
          this.#welcome(connection);
        },
        admitted: (connection) => this.#guests.delete(connection),
        closed: (connection, why) => {
          this.#counters[why]++;
          this.#open.delete(connection);
          this.#guests.delete(connection);
          this.#options.events.closed(connection);
        },
      });
    });
  }

  #welcome(connection: Connection): void {
    this.#guests.set(connection, Date.now());
    if (this.#guests.size <= (this.#options.maxGuests ?? GUESTS)) return;
    const [oldest] = this.#guests.keys();
    oldest!.crowdOut();
  }

  #check(now: number): void {
    const patience = this.#options.guestPatience ?? GUEST_PATIENCE;
    for (const [connection, since] of this.#guests) {
      if (since > now - patience) break;
      connection.crowdOut();
    }
    for (const [socket, since] of this.#strangers) {
      if (since > now - PATIENCE) break;
      this.#counters['too-slow']++;
      this.#strangers.delete(socket);
      socket.destroy();
    }
    if (now - this.#swept < SWEEP_INTERVAL) return;
    this.#swept = now;
    for (const connection of this.#open) connection.check(now);
  }
}

/** Who is there: behind a proxy on this machine, the address that it says. */
function remoteOf(request: IncomingMessage): string {
  const address = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  const forwarded = request.headers['x-forwarded-for'];
  if (!isLoopback(address) || forwarded === undefined) return address;
  return String(forwarded).split(',').at(-1)!.trim().slice(0, 45);
}

/** Why a port cannot be had, and what to do. */
export function whyNoPort(error: NodeJS.ErrnoException, port: number, protocol: 'TCP' | 'UDP'): Error {
  const choose = `choose another with --port`;
  if (error.code === 'EADDRINUSE') {
    const find = `\`ss -${protocol === 'TCP' ? 'lt' : 'lu'}np sport = :${port}\` names it`;
    return new LametunError(
      'busy',
      `${protocol} port ${port} is used by another program (${find}): stop it, or ${choose}`,
      { cause: error },
    );
  }
  if (error.code === 'EACCES') {
    return new LametunError('usage', `${protocol} port ${port} needs root (try sudo), or ${choose}`, {
      cause: error,
    });
  }
  return error;
}
