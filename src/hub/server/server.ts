import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { LametunError } from '../../errors.js';
import { limitSegments } from '../../linux/net/socket-options.js';
import { CHANNEL_PATH } from '../../protocol/channel.js';
import {
  HeadReader,
  type RequestHead,
  WEBSOCKET_GUID,
  wantsWebSocket,
  webSocketKey,
} from '../../protocol/upgrade.js';
import { AddressLimit } from '../machine/limits.js';
import { type Ending, PACE } from '../machine/session.js';
import { Sessions, type SessionsOptions } from '../machine/sessions.js';
import { isLoopback } from './public-addresses.js';
import { HubWebSocket } from './web-socket.js';

export interface ServerOptions extends SessionsOptions {
  /** TCP, on every address of the machine; 0 lets the kernel choose one. */
  readonly port: number;
  /** First messages of one address; default 50 per second. */
  readonly handshakes?: AddressLimit;
}

const COUNTS = ['connections', 'plain-http', 'bad-upgrade', 'crowded-out', 'too-slow', 'too-often'] as const;
/** Counts sessions by how they ended, and connections that never became sessions. */
export type ServerCounters = Readonly<Record<Ending | 'opened' | (typeof COUNTS)[number], number>>;

/** TCP connections that have not proved a key yet. If there are more, the oldest is closed: an honest client is fast. */
const STRANGERS = 8_192;
/** How long a client may take to prove its key, milliseconds. */
const PATIENCE = 10_000;
const NOT_FOUND = [
  'HTTP/1.1 404 Not Found',
  'Content-Type: text/plain',
  'Content-Length: 10',
  'Connection: close',
  '',
  'not found\n',
].join('\r\n');
/** First messages of one address, which cost some X25519 each: room for an office that reconnects at once, then 50 per second. */
const HANDSHAKES = { rate: 50, burst: 1_000 } as const;
const CHECK_INTERVAL = 1_000;
const BACKLOG = 4_096;

/** The hub's TCP port: WebSockets for channels, and a short answer for anything else. */
export class HubServer {
  readonly port: number;
  readonly #listener: Server;
  /** All TCP connections. */
  readonly #sockets = new Set<Socket>();
  /** Connections without a proven key, with their start by `performance.now`, oldest first. */
  readonly #strangers = new Map<Socket, number>();
  readonly #sessions: Sessions;
  readonly #counters = Object.fromEntries(COUNTS.map((name) => [name, 0])) as Record<
    (typeof COUNTS)[number],
    number
  >;
  readonly #handshakes: AddressLimit;
  readonly #timer: NodeJS.Timeout;

  private constructor(listener: Server, options: ServerOptions) {
    this.port = (listener.address() as AddressInfo).port;
    this.#listener = listener;
    this.#sessions = new Sessions(options);
    this.#handshakes = options.handshakes ?? new AddressLimit(HANDSHAKES);
    listener.on('connection', (socket: Socket) => this.#connected(socket));
    listener.on('error', () => {}); // accepting a connection failed, because descriptors ran out
    this.#timer = setInterval(() => this.#check(performance.now()), CHECK_INTERVAL).unref();
  }

  /** @throws LametunError `usage` when the port is not available */
  static async listen(options: ServerOptions): Promise<HubServer> {
    const listener = createServer({ noDelay: true });
    for (const host of ['::', '0.0.0.0']) {
      try {
        listener.listen({ port: options.port, host, backlog: BACKLOG, exclusive: true });
        await once(listener, 'listening');
        limitSegments((listener as unknown as { readonly _handle: { readonly fd: number } })._handle.fd);
        return new HubServer(listener, options);
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (host === '::' && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL')) continue; // no IPv6 here
        throw whyNoPort(error as NodeJS.ErrnoException, options.port, 'TCP');
      }
    }
    throw new LametunError('linux', 'cannot listen: this machine has neither IPv6 nor IPv4');
  }

  counters(): ServerCounters {
    return { ...this.#counters, ...this.#sessions.counters };
  }

  /** How many clients have proved a key. */
  get open(): number {
    return this.#sessions.open;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    const closed = once(this.#listener, 'close');
    this.#listener.close();
    this.#sessions.close();
    for (const socket of [...this.#strangers.keys()]) socket.destroy();
    this.#strangers.clear();
    for (const socket of this.#sockets) setTimeout(() => socket.destroy(), CHECK_INTERVAL).unref();
    await closed;
  }

  #connected(socket: Socket): void {
    this.#counters.connections++;
    this.#sockets.add(socket);
    this.#strangers.set(socket, performance.now());
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#strangers.delete(socket);
    });
    socket.on('error', () => {}); // `close` follows
    if (this.#strangers.size > STRANGERS) {
      const [oldest] = this.#strangers.keys();
      this.#counters['crowded-out']++;
      this.#strangers.delete(oldest!);
      oldest!.destroy();
    }
    const head = new HeadReader();
    const read = (chunk: Buffer): void => {
      const request = head.push(chunk);
      if (request === undefined) return;
      socket.off('data', read);
      if (request === 'malformed') socket.destroy();
      else this.#requested(socket, request.head, request.rest);
    };
    socket.on('data', read);
  }

  #requested(socket: Socket, head: RequestHead, rest: Uint8Array): void {
    const key = head.path === CHANNEL_PATH ? webSocketKey(head) : undefined;
    if (!wantsWebSocket(head) || key === undefined) {
      this.#counters[wantsWebSocket(head) ? 'bad-upgrade' : 'plain-http']++;
      socket.end(NOT_FOUND, () => socket.destroy());
      return;
    }
    const remote = remoteOf(socket, head);
    // A proxy on this machine that does not name its clients must not be limited like a single client.
    if (!isLoopback(remote) && !this.#handshakes.take(remote, performance.now())) {
      this.#counters['too-often']++;
      socket.destroy();
      return;
    }
    socket.write(upgraded(key));
    const webSocket: HubWebSocket = new HubWebSocket(socket, PACE.stranger, {
      handle: (bytes, now) => session.handle(bytes, now),
      heard: (now) => session.heard(now),
      failed: () => session.failed(),
      flooded: () => session.flooded(),
      closed: () => session.closed(),
    });
    const session = this.#sessions.begin(webSocket, remote, performance.now(), () =>
      this.#strangers.delete(socket),
    );
    webSocket.start(rest);
  }

  #check(now: number): void {
    this.#sessions.check(now);
    for (const [socket, since] of this.#strangers) {
      if (since > now - PATIENCE) break;
      this.#counters['too-slow']++;
      this.#strangers.delete(socket);
      socket.destroy();
    }
  }
}

/** RFC 6455 §4.2.2. */
function upgraded(key: string): string {
  const accept = createHash('sha1').update(`${key}${WEBSOCKET_GUID}`).digest('base64');
  return [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${accept}`,
    '\r\n',
  ].join('\r\n');
}

/** The client's address; behind a proxy on this machine, the address that the proxy names. */
function remoteOf(socket: Socket, { headers }: RequestHead): string {
  const address = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  const forwarded = headers.get('x-forwarded-for');
  if (!isLoopback(address) || forwarded === undefined) return address;
  return forwarded.split(',').at(-1)!.trim().slice(0, 45);
}

/** The error for a port that is not available, with what to do. */
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
