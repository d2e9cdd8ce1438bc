import { timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { blake2s } from '../../src/crypto/blake2s.js';
import type { RelaySession } from '../../src/hub/relay/relay.js';
import { parseAddress } from '../../src/ip/address.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { writeSocketAddress } from '../../src/linux/net/socket-address.js';
import { receiveSegments, UdpSocket } from '../../src/linux/net/udp.js';
import { SendBatch } from '../../src/packets/send-batch.js';
import { ENDPOINT, ReceiveBatch } from '../../src/packets/udp-batch.js';
import { decodeControl, encodeControl, MAGIC, RELAY_FRAME, RELAY_KIND } from '../../src/protocol/relay.js';
import { MESSAGE_TYPE, viewOf } from '../../src/wireguard/messages.js';
import { receive } from './datagrams.js';
import { FLOOD_WORD, type FloodData } from './relay-flood.js';

export const relayCrypto = {
  mac: (key: Uint8Array, input: Uint8Array, out: Uint8Array): void => blake2s([input], out, 16, key),
  equal: (a: Uint8Array, b: Uint8Array): boolean => timingSafeEqual(a, b),
};

export interface Flood {
  /** The number of frames sent so far. */
  sent(): number;
  /** @returns the number of frames sent */
  stop(): Promise<number>;
}

/** A datagram received through the relay. */
export interface RelayedFrame {
  readonly from: number;
  readonly datagram: Uint8Array;
}

/** A datagram that a relay forwards: it begins like WireGuard transport data. The rest is `fill`. */
export function relayable(length: number, fill: number | Uint8Array = 0x5a): Uint8Array {
  const bytes = new Uint8Array(length);
  if (typeof fill === 'number') bytes.fill(fill);
  else bytes.set(fill.subarray(0, length));
  viewOf(bytes).setUint32(0, MESSAGE_TYPE.transport, true);
  return bytes;
}

/** A relay frame to a peer. */
export function frameTo(peer: number, datagram: Uint8Array): Uint8Array {
  const frame = new Uint8Array(RELAY_FRAME.payload + datagram.length);
  viewOf(frame).setInt32(0, MAGIC.relay, true);
  viewOf(frame).setUint32(RELAY_FRAME.peer, peer, true);
  frame.set(datagram, RELAY_FRAME.payload);
  return frame;
}

const BATCH = 64;
/** How long to wait for what must arrive, milliseconds. */
const PATIENCE = 10_000;

/** A member's UDP socket, which talks to a relay on loopback. */
export class RelayMember {
  readonly #socket = UdpSocket.open(0);
  readonly #room = allocate(1 << 20);
  readonly #endpoint = allocate(ENDPOINT.size);
  readonly #sending = new SendBatch(BATCH);
  readonly #receiving = new ReceiveBatch(BATCH);
  #session: RelaySession | undefined;
  #sequence = 0;

  /** @param address of the relay */
  constructor(port: number, address = '127.0.0.1') {
    this.#socket.setBuffers(16 << 20);
    const { view } = this.#endpoint;
    const remote = { address: parseAddress(address)!, port };
    const length = writeSocketAddress(view, ENDPOINT.name, this.#socket.family, remote);
    view.setUint32(ENDPOINT.nameLength, length, true);
  }

  get port(): number {
    return this.#socket.port;
  }

  /** Sends bytes as they are. */
  send(...datagrams: readonly Uint8Array[]): void {
    for (let i = 0; i < datagrams.length; i += BATCH) {
      let at = 0;
      for (const datagram of datagrams.slice(i, i + BATCH)) {
        this.#room.bytes.set(datagram, at);
        this.#sending.addTo(this.#room.address + at, datagram.length, this.#endpoint, 0);
        at += datagram.length;
      }
      this.#flush();
    }
  }

  /** Sends datagrams of one size, the last perhaps shorter, as one run (UDP GSO). */
  sendRun(datagrams: readonly Uint8Array[]): void {
    let at = 0;
    for (const datagram of datagrams) {
      this.#room.bytes.set(datagram, at);
      at += datagram.length;
    }
    this.#sending.addRun(this.#room.address, at, datagrams[0]!.length, this.#endpoint, 0, 0);
    this.#flush();
  }

  /** The bind message to send next. */
  makeBind(session: RelaySession, cookie?: Uint8Array, sequence = ++this.#sequence, length = 0): Uint8Array {
    const control = { kind: RELAY_KIND.bind, session: session.session, sequence, length };
    return encodeControl(relayCrypto, session.key, cookie === undefined ? control : { ...control, cookie });
  }

  /** Binds this socket to a session. @returns this socket's port as the relay sees it @throws Error if it is refused */
  async bind(session: RelaySession): Promise<number> {
    this.#session = session;
    let cookie: Uint8Array | undefined;
    for (let attempt = 0; attempt < 3; attempt++) {
      this.send(this.makeBind(session, cookie));
      const answer = (await this.controls(1))[0];
      if (answer?.kind === RELAY_KIND.bound) return answer.port;
      cookie = answer?.cookie;
    }
    throw new Error('the relay did not accept the bind');
  }

  /** Waits for control messages of the relay. */
  async controls(
    count: number,
    patience = PATIENCE,
  ): Promise<NonNullable<ReturnType<typeof decodeControl>>[]> {
    const session = this.#session!;
    const received = await this.receive(count, patience);
    return received.map((bytes) => {
      const control = decodeControl(relayCrypto, session.key, bytes);
      if (control === undefined) throw new Error('received something other than a control message');
      return control;
    });
  }

  /** Waits for `count` frames, or until none has arrived for `patience` milliseconds. */
  async frames(count: number, patience = PATIENCE): Promise<RelayedFrame[]> {
    const received = await this.receive(count, patience);
    return received.map((bytes) => {
      const view = viewOf(bytes);
      if (view.getInt32(0, true) !== MAGIC.relay) throw new Error('received something other than a frame');
      return { from: view.getUint32(RELAY_FRAME.peer, true), datagram: bytes.subarray(RELAY_FRAME.payload) };
    });
  }

  async receive(count: number, patience: number): Promise<Uint8Array[]> {
    const received = await receive(this.#socket, this.#receiving, count, patience);
    return received.map(({ payload }) => payload);
  }

  /** Lets the kernel deliver several datagrams as a bundle. Use only with `discard`. */
  receiveBundles(): void {
    receiveSegments(this.#socket.fd);
  }

  /** Discards everything in the socket. @returns the number of datagrams or bundles */
  discard(): number {
    let count = 0;
    for (let slots = BATCH; slots === BATCH; ) {
      slots = Math.max(0, this.#receiving.receive(this.#socket.fd));
      count += slots;
    }
    return count;
  }

  /** Sends frames from another thread until stopped. */
  flood(frame: Uint8Array, options: Pick<FloodData, 'perRun' | 'perMillisecond'>): Flood {
    const data: FloodData = {
      fd: this.#socket.fd,
      endpoint: this.#endpoint.bytes.buffer,
      frame,
      words: new SharedArrayBuffer(16),
      ...options,
    };
    const worker = new Worker(new URL('./relay-flooder.js', import.meta.url), { workerData: data });
    const words = new Float64Array(data.words);
    const exited = once(worker, 'exit');
    return {
      sent: () => words[FLOOD_WORD.sent]!,
      async stop() {
        words[FLOOD_WORD.stop] = 1;
        await exited;
        return words[FLOOD_WORD.sent]!;
      },
    };
  }

  close(): void {
    this.#socket.close();
  }

  #flush(): void {
    while (this.#sending.flush(this.#socket.fd) !== 0) this.#sending.skip();
  }
}
