import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type Endpoint, formatEndpoint } from '../../../ip/endpoint.js';
import { bootTime } from '../../../linux/process/clock.js';
import type { RelayCredentials } from '../../../protocol/messages.js';
import { MAGIC, RELAY_FRAME } from '../../../protocol/relay.js';
import { wallTimeOf } from '../../../wall-clock.js';
import type { Crypto } from '../../../wireguard/crypto.js';
import type { RelayStatus } from '../../control/control.js';
import { endpointKey } from './candidates.js';
import { RelayBinding } from './relay-binding.js';

export interface RelayClientOptions {
  readonly crypto: Pick<Crypto, 'mac' | 'equal'>;
  /** Of the longest frame that data makes, bytes: what UDP must carry. */
  readonly frameLength: number;
  /** Of the device. */
  readonly port: () => number;
  /** By the device's socket. */
  readonly send: (bytes: Uint8Array, to: Endpoint) => void;
  /** Through the hub's channel. */
  readonly sendFrame: (peer: number, datagram: Uint8Array) => void;
  /**
   * Where frames go to and come from, from now on; undefined: nowhere.
   *
   * @param why there is no relay
   */
  readonly onRelay: (relay: Endpoint | undefined, why: string) => void;
  /** Where the relay sees us; undefined: nowhere, or it is not known whether it does. */
  readonly onSeen: (seen: Endpoint | undefined, isKnown: boolean) => void;
  /** UDP does not pass any more: the hub must be made to send through the channel again, by new credentials. */
  readonly onLost: () => void;
  /** Milliseconds, of a clock that never goes back. */
  readonly now: () => number;
}

/** While the hub is away for no longer, nothing is changed: it is most often back at once. Milliseconds. */
const GRACE = 3_000;

/** How much may wait in the socket of our own, bytes. */
const SOCKET_BUFFER = 4 << 20;

/**
 * A node's way to the relay: by UDP where that passes, else through the hub's channel.
 *
 * The data plane has one address for the relay. Where UDP does not pass, or is not known to yet, that is a socket of
 * this thread on the loopback device, which carries frames to the channel and back. So packets flow as soon as the
 * channel stands, and nobody but this class knows the difference.
 */
export class RelayClient {
  readonly #options: RelayClientOptions;
  readonly #socket: Socket;
  readonly #loopback: Endpoint;
  #binding: RelayBinding | undefined;
  /** The relay's UDP address. */
  #remote: Endpoint | undefined;
  /** `since` by `bootTime`. */
  #status: RelayStatus;
  /** Why UDP is not used though it was. */
  #lost: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #grace: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(options: RelayClientOptions, socket: Socket) {
    this.#options = options;
    this.#socket = socket;
    this.#loopback = { address: Uint8Array.of(127, 0, 0, 1), port: socket.address().port };
    this.#status = { via: 'none', why: 'the hub was not reached yet', since: bootTime() };
    socket.on('message', (bytes, from) => {
      if (from.port === options.port() && from.address === '127.0.0.1') this.#toChannel(bytes);
    });
    socket.on('error', () => {}); // the device's port is closed for a moment when it moves
  }

  /** The socket belongs to the network namespace that the calling thread is in when it calls. */
  static async start(options: RelayClientOptions): Promise<RelayClient> {
    const socket = createSocket('udp4');
    const listening = once(socket, 'listening');
    socket.bind(0, '127.0.0.1');
    await listening;
    try {
      socket.setRecvBufferSize(SOCKET_BUFFER);
    } catch {} // then bursts are smaller
    socket.unref();
    return new RelayClient(options, socket);
  }

  get status(): RelayStatus {
    return { ...this.#status, since: wallTimeOf(this.#status.since) };
  }

  /** Whether frames go anywhere now. */
  get relay(): Endpoint | undefined {
    return { websocket: this.#loopback, udp: this.#remote, none: undefined }[this.#status.via];
  }

  /**
   * The channel stands, and these are its credentials. May come again.
   *
   * @param remote the hub's address at the other end of the channel
   */
  attached(remote: Endpoint, { port, session, key }: RelayCredentials): void {
    if (this.#closed) return;
    this.#endGrace();
    this.#remote = { ...remote, port };
    const { crypto, frameLength, now } = this.#options;
    const secrets = { session: Buffer.from(session, 'base64'), key: Buffer.from(key, 'base64') };
    this.#binding = new RelayBinding(crypto, secrets, frameLength, now());
    // The hub knows none of our addresses by these credentials yet: it sends through the channel.
    this.#use('websocket', this.#lost ?? 'UDP is being tried');
    this.#drive();
  }

  /** The channel has broken, or could not be made again. */
  detached(why: string): void {
    if (this.#closed || this.#grace !== undefined) return;
    this.#grace = setTimeout(
      () => {
        this.#grace = undefined;
        this.#binding = undefined;
        clearTimeout(this.#timer);
        this.#use('none', why);
        this.#options.onSeen(undefined, false);
      },
      this.#status.via === 'none' ? 0 : GRACE,
    );
  }

  /** A relay's control message came by the device's socket. */
  handleControl(bytes: Uint8Array, from: Endpoint): void {
    if (this.#remote === undefined || endpointKey(from) !== endpointKey(this.#remote)) return;
    this.#binding?.handleControl(bytes, this.#options.now());
    this.#drive();
  }

  /** A frame came through the channel. */
  handleFrame(peer: number, datagram: Uint8Array): void {
    if (this.#status.via !== 'websocket') return; // on its way while we changed to UDP
    const frame = Buffer.allocUnsafe(RELAY_FRAME.payload + datagram.length);
    frame.writeInt32LE(MAGIC.relay, 0);
    frame.writeUInt32LE(peer, RELAY_FRAME.peer);
    frame.set(datagram, RELAY_FRAME.payload);
    this.#socket.send(frame, this.#options.port(), '127.0.0.1', () => {});
  }

  /** Packets go through the relay. @param isSilent and nothing comes back */
  handleActivity(isSilent: boolean): void {
    const now = this.#options.now();
    if (isSilent) this.#binding?.handleSilence(now);
    else this.#binding?.handleActivity(now);
    this.#schedule();
  }

  /** The network of this machine has changed. */
  rebind(): void {
    this.#binding?.rebind(this.#options.now());
    this.#drive();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#endGrace();
    this.#socket.close();
  }

  #endGrace(): void {
    clearTimeout(this.#grace);
    this.#grace = undefined;
  }

  #toChannel(bytes: Buffer): void {
    if (bytes.length <= RELAY_FRAME.payload || bytes.readInt32LE(0) !== MAGIC.relay) return;
    this.#options.sendFrame(bytes.readUInt32LE(RELAY_FRAME.peer), bytes.subarray(RELAY_FRAME.payload));
  }

  #drive(): void {
    const binding = this.#binding;
    if (binding === undefined || this.#closed) return;
    binding.handleTimeout(this.#options.now());
    const where = formatEndpoint(this.#remote!);
    for (let event = binding.poll(); event; event = binding.poll()) {
      switch (event.kind) {
        case 'send':
          this.#options.send(event.bytes, this.#remote!);
          break;
        case 'bound':
          this.#lost = undefined;
          this.#use('udp', `UDP passes to ${where}`);
          this.#options.onSeen(event.seen, true);
          break;
        case 'unanswered':
          this.#use('websocket', `no answer by UDP from ${where}: it may be blocked on the way`);
          this.#options.onSeen(undefined, true);
          break;
        case 'narrow':
          this.#use('websocket', `UDP passes to ${where}, but packets of full size do not`);
          this.#options.onSeen(event.seen, true);
          break;
        case 'lost':
          this.#lost = `UDP to ${where} stopped passing`;
          this.#use('websocket', this.#lost);
          this.#options.onSeen(undefined, false);
          this.#options.onLost();
          break;
      }
    }
    this.#schedule();
  }

  #use(via: RelayStatus['via'], why: string): void {
    const before = this.#status.via;
    this.#status = { via, why, since: via === before ? this.#status.since : bootTime() };
    if (via !== before) this.#options.onRelay(this.relay, why);
  }

  #schedule(): void {
    if (this.#binding === undefined || this.#closed) return;
    clearTimeout(this.#timer);
    const delay = Math.max(0, this.#binding.nextTimeout() - this.#options.now());
    this.#timer = setTimeout(() => this.#drive(), Math.ceil(delay));
    this.#timer.unref();
  }
}
