import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { Endpoint } from '../../ip/endpoint.js';
import type { NodeId } from '../../protocol/node-id.js';
import { MAGIC, RELAY_FRAME } from '../../protocol/relay.js';

/** How much may wait in the socket, bytes. */
const SOCKET_BUFFER = 4 << 20;

export interface RelaySocketOptions {
  /** The interface's UDP port. */
  readonly port: () => number;
  /** A datagram for a member, to be sent through the channel. */
  readonly onFrame: (peer: NodeId, datagram: Uint8Array) => void;
}

/**
 * Stands for the relay while its frames go through the hub's channel: a UDP socket on the loopback device. So the data
 * plane knows one address for the relay, and nothing of channels.
 */
export class RelaySocket {
  readonly #options: RelaySocketOptions;
  readonly #socket: Socket;
  /** Where the data plane is to send frames. */
  readonly endpoint: Endpoint;

  private constructor(options: RelaySocketOptions, socket: Socket) {
    this.#options = options;
    this.#socket = socket;
    this.endpoint = { address: Uint8Array.of(127, 0, 0, 1), port: socket.address().port };
    socket.on('message', (bytes, from) => {
      if (from.port === options.port() && from.address === '127.0.0.1') this.#toChannel(bytes);
    });
    socket.on('error', () => {}); // the interface's port is closed for a moment when it moves
  }

  /** The socket belongs to the network namespace that the calling thread is in when it calls. */
  static async open(options: RelaySocketOptions): Promise<RelaySocket> {
    const socket = createSocket('udp4');
    const listening = once(socket, 'listening');
    socket.bind(0, '127.0.0.1');
    await listening;
    try {
      socket.setRecvBufferSize(SOCKET_BUFFER);
    } catch {} // then bursts are smaller
    socket.unref();
    return new RelaySocket(options, socket);
  }

  /** A datagram from a member came through the channel. */
  deliver(peer: NodeId, datagram: Uint8Array): void {
    const frame = Buffer.allocUnsafe(RELAY_FRAME.payload + datagram.length);
    frame.writeInt32LE(MAGIC.relay, 0);
    frame.writeUInt32LE(peer, RELAY_FRAME.peer);
    frame.set(datagram, RELAY_FRAME.payload);
    this.#socket.send(frame, this.#options.port(), '127.0.0.1', () => {});
  }

  close(): void {
    this.#socket.close();
  }

  #toChannel(bytes: Buffer): void {
    if (bytes.length <= RELAY_FRAME.payload || bytes.readInt32LE(0) !== MAGIC.relay) return;
    this.#options.onFrame(bytes.readUInt32LE(RELAY_FRAME.peer), bytes.subarray(RELAY_FRAME.payload));
  }
}
