import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { Endpoint } from '../../ip/endpoint.js';
import type { NodeId } from '../../protocol/node-id.js';
import { MAGIC, RELAY_FRAME } from '../../protocol/relay.js';

/** Size of the socket's receive queue, bytes. */
const SOCKET_BUFFER = 4 << 20;

/** Takes a datagram for a member, to be sent through the channel. */
export type OnFrame = (peer: NodeId, datagram: Uint8Array) => void;

/**
 * Stands in for the relay while relay frames go through the hub's channel: a UDP socket on the loopback device. So the
 * data plane needs only an endpoint for the relay, and knows nothing of channels.
 */
export class RelaySocket {
  readonly #devicePort: () => number;
  readonly #socket: Socket;
  /** Where the data plane sends relay frames. */
  readonly endpoint: Endpoint;

  private constructor(devicePort: () => number, onFrame: OnFrame, socket: Socket) {
    this.#devicePort = devicePort;
    this.#socket = socket;
    this.endpoint = { address: Uint8Array.of(127, 0, 0, 1), port: socket.address().port };
    socket.on('message', (bytes, from) => {
      if (from.port !== devicePort() || from.address !== '127.0.0.1') return;
      if (bytes.length <= RELAY_FRAME.payload || bytes.readInt32LE(0) !== MAGIC.relay) return;
      onFrame(bytes.readUInt32LE(RELAY_FRAME.peer), bytes.subarray(RELAY_FRAME.payload));
    });
    socket.on('error', () => {}); // the interface's port is closed for a moment when it moves
  }

  /**
   * The socket belongs to the network namespace that the calling thread is in when it calls.
   *
   * @param devicePort the interface's UDP port
   */
  static async open(devicePort: () => number, onFrame: OnFrame): Promise<RelaySocket> {
    const socket = createSocket('udp4');
    const listening = once(socket, 'listening');
    socket.bind(0, '127.0.0.1');
    await listening;
    try {
      socket.setRecvBufferSize(SOCKET_BUFFER);
    } catch {} // without it, only smaller bursts fit
    socket.unref();
    return new RelaySocket(devicePort, onFrame, socket);
  }

  /** Hands a datagram that came through the channel to the data plane. */
  deliver(peer: NodeId, datagram: Uint8Array): void {
    const frame = Buffer.allocUnsafe(RELAY_FRAME.payload + datagram.length);
    frame.writeInt32LE(MAGIC.relay, 0);
    frame.writeUInt32LE(peer, RELAY_FRAME.peer);
    frame.set(datagram, RELAY_FRAME.payload);
    this.#socket.send(frame, this.#devicePort(), '127.0.0.1', () => {});
  }

  close(): void {
    this.#socket.close();
  }
}
