import { lookup } from 'node:dns/promises';
import { connect, isIPv6, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import WebSocket from 'ws';
import { parseAddress } from '../../ip/address.js';
import type { Endpoint } from '../../ip/endpoint.js';
import { CHANNEL_PATH } from '../../protocol/channel.js';
import { connectFailure, HubFailure, responseFailure } from '../machine/hub/hub-failure.js';
import { describe, type Target } from '../machine/hub/target.js';

/** Looks up the addresses of a host. @throws HubFailure */
export async function resolveHost(host: string): Promise<string[]> {
  try {
    const found = await lookup(host, { all: true, verbatim: true });
    return found.map(({ address }) => address);
  } catch (error) {
    throw connectFailure(host, (error as NodeJS.ErrnoException).code, error);
  }
}

/** Frames are dropped while this much waits to be sent, bytes: a late frame is useless. */
const FRAME_BACKLOG = 512 * 1024;
/** Noise §3. */
const LARGEST_MESSAGE = 65_535;
/** How long the other side may take to close, milliseconds. */
const CLOSE_TIMEOUT = 1000;

export interface SocketHandlers {
  /** TCP, or TLS, is connected between these two. */
  connected(remote: Endpoint, local: Endpoint): void;
  /** The WebSocket is open. */
  opened(): void;
  /** One whole message. The handler owns its memory. */
  message(bytes: Uint8Array): void;
  pong(): void;
  /** `failed` or `closed` is called once, and nothing after it. After `close` and `abandon`, neither is. */
  failed(failure: HubFailure): void;
  /** It was open, and is closed. @param code RFC 6455 §7.4 */
  closed(code: number): void;
}

/** A WebSocket to one address of the hub. Certificates are not checked: the channel inside authenticates and encrypts. */
export class HubSocket {
  readonly #target: Target;
  readonly #ws: WebSocket;
  #socket: Socket | undefined;
  #handlers: SocketHandlers | undefined;
  #isOpen = false;
  #isCorked = false;

  constructor(target: Target, handlers: SocketHandlers) {
    this.#target = target;
    this.#handlers = handlers;
    const { host, port, tls } = target.address;
    const authority = `${isIPv6(host) ? `[${host}]` : host}:${port}`;
    const ws = new WebSocket(`${tls ? 'wss' : 'ws'}://${authority}${CHANNEL_PATH}`, {
      perMessageDeflate: false, // encrypted data cannot be compressed
      maxPayload: LARGEST_MESSAGE,
      followRedirects: false,
      createConnection: () => this.#connect(),
    });
    this.#ws = ws;
    ws.on('open', () => {
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
      else this.#fail(connectFailure(describe(target), (error as NodeJS.ErrnoException).code, error));
    });
    ws.on('close', (code) => this.#close(code));
  }

  send(bytes: Uint8Array): void {
    if (this.#ws.readyState === WebSocket.OPEN) this.#ws.send(bytes);
  }

  /** @returns whether it was sent or queued */
  sendFrame(bytes: Uint8Array): boolean {
    if (this.#ws.readyState !== WebSocket.OPEN || this.isBusy) return false;
    this.#cork();
    this.#ws.send(bytes);
    return true;
  }

  /** Sends all frames of one turn of the event loop with one system call. */
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

  /** Closes in order: everything that was sent before arrives. */
  close(code = 1000): void {
    this.#handlers = undefined;
    this.#ws.close(code);
    setTimeout(() => this.#ws.terminate(), CLOSE_TIMEOUT).unref();
  }

  /** Drops the connection at once. */
  abandon(): void {
    this.#handlers = undefined;
    this.#ws.terminate();
  }

  #connect(): Socket {
    const { ip, address } = this.#target;
    const { port, host } = address;
    const options = { host: ip, port, noDelay: true };
    const name = ip === host ? {} : { servername: host };
    const socket = address.tls
      ? connectTls({ ...options, ...name, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
      : connect(options);
    socket.once(address.tls ? 'secureConnect' : 'connect', () => {
      const remote = endpoint(socket.remoteAddress, socket.remotePort);
      const local = endpoint(socket.localAddress, socket.localPort);
      if (remote !== undefined && local !== undefined) this.#handlers?.connected(remote, local);
    });
    this.#socket = socket;
    return socket;
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
