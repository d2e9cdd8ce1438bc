import { lookup } from 'node:dns/promises';
import { connect, isIPv6, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import WebSocket from 'ws';
import { parseAddress } from '../../ip/address.js';
import type { Endpoint } from '../../ip/endpoint.js';
import { CHANNEL_PATH } from '../../protocol/channel.js';
import type { HubAddress } from '../../protocol/token.js';
import { connectFailure, HubFailure, responseFailure } from '../machine/hub/hub-failure.js';

/** An address of the hub's that can be connected to. */
export interface Target {
  /** An IPv4 or IPv6 address. */
  readonly ip: string;
  readonly address: HubAddress;
}

/** For people: `203.0.113.5:443`, or `hub.example.org:443` with the address that was found for it. */
export function describe({ ip, address: { host, port, tls } }: Target): string {
  const scheme = tls ? 'https://' : '';
  const shown = isIPv6(host) ? `[${host}]` : host;
  return `${scheme}${shown}:${port}${ip === host ? '' : ` (${ip})`}`;
}

/** Looks a name up. @throws HubFailure */
export async function targetsOf(address: HubAddress): Promise<Target[]> {
  if (parseAddress(address.host) !== undefined) return [{ ip: address.host, address }];
  try {
    const found = await lookup(address.host, { all: true, verbatim: true });
    return found.map(({ address: ip }) => ({ ip, address }));
  } catch (error) {
    throw connectFailure(address.host, error);
  }
}

/** A frame is dropped while so much waits to be sent, bytes: what comes late is of no use to anybody. */
const FRAME_BACKLOG = 512 * 1024;
/** Noise §3. */
const LARGEST_MESSAGE = 65_535;
/**
 * How long TCP (and TLS) may take, the WebSocket after that, and the other side to close; milliseconds. Where thousands
 * come back at once, whoever has been accepted waits: to give up and come again would only make it longer for all.
 */
const CONNECTING = 10_000;
const OPENING = 30_000;
const CLOSING = 1000;

export interface SocketHandlers {
  /** TCP, or TLS, is there. */
  connected(): void;
  /** The WebSocket is open. */
  opened(): void;
  /** One whole message. The memory is the handler's. */
  message(bytes: Uint8Array): void;
  pong(): void;
  /** One of these two, once, and nothing after it; neither after `close` and `abandon`. */
  failed(failure: HubFailure): void;
  /** It was open, and no more. @param code RFC 6455 §7.4 */
  closed(code: number): void;
}

/** A WebSocket to one address of the hub. What TLS there is proves nothing and hides nothing: the channel does. */
export class HubSocket {
  readonly target: Target;
  readonly #ws: WebSocket;
  #timer: NodeJS.Timeout;
  #socket: Socket | undefined;
  #handlers: SocketHandlers | undefined;
  #isOpen = false;
  #isCorked = false;

  constructor(target: Target, handlers: SocketHandlers) {
    this.target = target;
    this.#handlers = handlers;
    const { host, port, tls } = target.address;
    const authority = `${isIPv6(host) ? `[${host}]` : host}:${port}`;
    const ws = new WebSocket(`${tls ? 'wss' : 'ws'}://${authority}${CHANNEL_PATH}`, {
      perMessageDeflate: false, // what is sealed cannot be made smaller
      maxPayload: LARGEST_MESSAGE,
      followRedirects: false,
      createConnection: () => this.#connect(),
    });
    this.#ws = ws;
    this.#timer = this.#giveUpIn(CONNECTING);
    ws.on('open', () => {
      clearTimeout(this.#timer);
      this.#isOpen = true;
      this.#handlers?.opened();
    });
    ws.on('message', (data, isBinary) => {
      if (isBinary) this.#handlers?.message(data as Buffer);
      else this.#fail(new HubFailure('protocol', `${describe(target)}: the hub sent text`));
    });
    ws.on('pong', () => this.#handlers?.pong());
    ws.on('unexpected-response', (_, response) => {
      this.#fail(responseFailure(describe(target), response.statusCode ?? 0));
    });
    ws.on('error', (error) => {
      if (this.#isOpen) this.#close(1006);
      else this.#fail(connectFailure(describe(target), error));
    });
    ws.on('close', (code) => this.#close(code));
  }

  /** Where the connection leads, while there is one. */
  get remote(): Endpoint | undefined {
    return endpoint(this.#socket?.remoteAddress, this.#socket?.remotePort);
  }

  /** Our end of it. */
  get local(): Endpoint | undefined {
    return endpoint(this.#socket?.localAddress, this.#socket?.localPort);
  }

  send(bytes: Uint8Array): void {
    if (this.#ws.readyState === WebSocket.OPEN) this.#ws.send(bytes);
  }

  /** @returns whether it was sent, or at least will be */
  sendFrame(bytes: Uint8Array): boolean {
    if (this.#ws.readyState !== WebSocket.OPEN || this.isBusy) return false;
    this.#cork();
    this.#ws.send(bytes);
    return true;
  }

  /** Frames come in bunches: all of one turn of the event loop go out by one system call. */
  #cork(): void {
    const socket = this.#socket;
    if (this.#isCorked || socket === undefined) return;
    this.#isCorked = true;
    socket.cork();
    setImmediate(() => {
      this.#isCorked = false;
      socket.uncork();
    });
  }

  get isBusy(): boolean {
    return this.#ws.bufferedAmount > FRAME_BACKLOG;
  }

  ping(): void {
    if (this.#ws.readyState === WebSocket.OPEN) this.#ws.ping();
  }

  /** Lets go of it in good order: what was sent before arrives. */
  close(code = 1000): void {
    this.#handlers = undefined;
    clearTimeout(this.#timer);
    this.#ws.close(code);
    setTimeout(() => this.#ws.terminate(), CLOSING).unref();
  }

  /** Lets go of it at once. */
  abandon(): void {
    this.#handlers = undefined;
    clearTimeout(this.#timer);
    this.#ws.terminate();
  }

  #connect(): Socket {
    const { ip, address } = this.target;
    const { port, host } = address;
    const options = { host: ip, port, noDelay: true };
    const name = ip === host ? {} : { servername: host };
    const socket = address.tls
      ? connectTls({ ...options, ...name, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
      : connect(options);
    socket.once(address.tls ? 'secureConnect' : 'connect', () => {
      if (this.#handlers === undefined) return;
      clearTimeout(this.#timer);
      this.#timer = this.#giveUpIn(OPENING);
      this.#handlers.connected();
    });
    this.#socket = socket;
    return socket;
  }

  #giveUpIn(milliseconds: number): NodeJS.Timeout {
    return setTimeout(
      () => this.#fail(connectFailure(describe(this.target), { code: 'ETIMEDOUT' })),
      milliseconds,
    );
  }

  #fail(failure: HubFailure): void {
    const handlers = this.#handlers;
    this.abandon();
    handlers?.failed(failure);
  }

  #close(code: number): void {
    const handlers = this.#handlers;
    this.abandon();
    handlers?.closed(code);
  }
}

function endpoint(ip: string | undefined, port: number | undefined): Endpoint | undefined {
  const address = ip === undefined ? undefined : parseAddress(ip.split('%')[0]!);
  return address === undefined || port === undefined ? undefined : { address, port };
}
