import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { LametunError } from '../../errors.js';
import { UdpSocket } from '../../linux/net/udp.js';
import { bootTime } from '../../linux/process/clock.js';
import { PollingWorker } from '../../linux/threads/polling-worker.js';
import type { NodeId } from '../../protocol/node-id.js';
import { mayBeRelayed } from '../../protocol/relay.js';
import { viewOf } from '../../wireguard/messages.js';
import { SESSION } from './binds.js';
import { AT, Counters, type RelayCounters, type RelayDrop, sumCounters } from './counters.js';
import { RateLimit } from './fair-share.js';
import { KEY_LENGTH } from './members.js';
import { COMMAND, COMMAND_RECORD, COMMANDS, FairRing, FRAME_RECORD } from './records.js';
import type { RelayWorkerData } from './worker.js';

export interface RelayOptions {
  /** UDP port on every address of the machine; 0 lets the kernel choose one. */
  readonly port: number;
  /**
   * A frame for an attached member without a bound endpoint: send it through the member's channel. The callee owns the bytes.
   * Drop the frame if the channel is slow, so that frames do not queue without limit.
   */
  readonly onFrame: (to: NodeId, from: NodeId, datagram: Uint8Array) => void;
  /** The relay's thread died, and nothing is relayed any more: call `close`. */
  readonly onFailed: (error: Error) => void;
  /** The rate of one member over UDP, and separately through its channel, bits per second; default 10^9. */
  readonly memberRate?: number;
  /** The maximum number of attached members; default 65 536. */
  readonly maxMembers?: number;
  /** Whether to use UDP GSO and GRO if the kernel has them; default yes. */
  readonly offloads?: boolean;
}

/** With these a member binds its endpoint: `RelayCredentials` of the protocol. */
export interface RelaySession {
  /** 8 bytes. */
  readonly session: Uint8Array;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** Bits per second. */
const MEMBER_RATE = 1e9;
const MAX_MEMBERS = 65_536;

/** Buffers of the socket in each direction, bytes. Datagrams wait there while the worker forwards a turn. */
const SOCKET_BUFFER = 16 << 20;

/** How many frames for channels are handled before other events of the main thread. */
const FRAMES_PER_TURN = 64;

/**
 * The relay forwards datagrams between members by their ids. Frames that come and leave over UDP never cross this thread: a
 * worker forwards them. Either side may use its channel instead: `fromChannel` accepts frames from one, and `onFrame` returns
 * frames for one.
 */
export class Relay {
  /** The UDP port. */
  readonly port: number;
  readonly #options: RelayOptions;
  readonly #socket: UdpSocket;
  readonly #maxMembers: number;
  readonly #rows = new Map<NodeId, number>();
  readonly #freeRows: number[] = [];
  #nextRow = 0;
  readonly #up: FairRing;
  readonly #down: FairRing;
  readonly #flags: Int32Array<SharedArrayBuffer>;
  readonly #limit: RateLimit;
  /** The counters of this thread and of the worker. */
  readonly #counters = new Counters();
  readonly #workerCounters = new Counters();
  readonly #worker: PollingWorker<RelayWorkerData>;
  #started = false;
  #closing: Promise<void> | undefined;

  private constructor(options: RelayOptions, socket: UdpSocket) {
    this.#options = options;
    this.#socket = socket;
    this.port = socket.port;
    this.#maxMembers = options.maxMembers ?? MAX_MEMBERS;
    const memberRate = options.memberRate ?? MEMBER_RATE;
    this.#flags = new Int32Array(new SharedArrayBuffer(4 * this.#maxMembers));
    this.#limit = new RateLimit(this.#maxMembers, memberRate);
    this.#up = new FairRing(0);
    this.#down = new FairRing(this.#maxMembers);
    this.#worker = new PollingWorker({
      program: 'hub/relay/worker',
      data: {
        ...{ fd: socket.fd, memberRate, offloads: options.offloads ?? true },
        up: this.#up.ring.buffer,
        down: this.#down.ring.buffer,
        counters: this.#workerCounters.buffer,
        flags: this.#flags.buffer,
        secret: Uint8Array.from(randomBytes(36)),
      },
      ...{ recordSize: COMMAND_RECORD.size, records: COMMANDS, stop: COMMAND.stop },
      onWake: () => this.#readFrames(),
    });
    this.#worker.worker.once('error', (error) => {
      if (this.#started && this.#closing === undefined) this.#options.onFailed(error);
    });
  }

  /**
   * Opens the port. No member is attached yet.
   *
   * @throws LinuxError when the port is not available
   */
  static async start(options: RelayOptions): Promise<Relay> {
    const socket = UdpSocket.open(options.port);
    try {
      socket.setBuffers(SOCKET_BUFFER);
      socket.reportDestinations();
      socket.reportTrafficClass();
      socket.letRoutersFragment();
    } catch (error) {
      socket.close();
      throw error;
    }
    const relay = new Relay(options, socket);
    try {
      // Rejects when the thread fails.
      const { worker, port } = relay.#worker;
      await Promise.race([once(port, 'message'), once(worker, 'exit')]);
    } catch (error) {
      await relay.close();
      throw error;
    }
    relay.#started = true;
    return relay;
  }

  /**
   * Attaches a member. A member that is already attached gets a new session without a bound endpoint, so call `detach` only
   * when its newest channel ends.
   *
   * @param node its id, 1 to 2^32 - 1
   * @throws LametunError `refused` when `maxMembers` are attached
   */
  attach(node: NodeId): RelaySession {
    const row = this.#rows.get(node) ?? this.#freeRows.pop() ?? this.#nextRow;
    if (row >= this.#maxMembers) {
      throw new LametunError('refused', `the relay is full: it has ${this.#maxMembers} members`);
    }
    if (row === this.#nextRow) this.#nextRow++;
    if (!this.#rows.has(node)) this.#limit.reset(row);
    this.#rows.set(node, row);
    const session = new Uint8Array(SESSION.length);
    const tag = randomBytes(4);
    viewOf(session).setUint32(SESSION.row, row, true);
    session.set(tag, SESSION.tag);
    const key = Uint8Array.from(randomBytes(KEY_LENGTH));
    this.#worker.command(COMMAND.attach, row, (at) => {
      const { view, bytes } = this.#worker.commands;
      view.setUint32(at + COMMAND_RECORD.id, node, true);
      bytes.set(tag, at + COMMAND_RECORD.tag);
      bytes.set(key, at + COMMAND_RECORD.key);
    });
    return { session, key };
  }

  /** Detaches a member. Does nothing if it is not attached. */
  detach(node: NodeId): void {
    const row = this.#rows.get(node);
    if (row === undefined) return;
    this.#rows.delete(node);
    this.#freeRows.push(row);
    this.#worker.command(COMMAND.detach, row);
  }

  /**
   * Forwards a frame from a member's channel. An invalid frame is dropped and counted.
   *
   * @param from the member of the channel
   */
  fromChannel(from: NodeId, to: NodeId, datagram: Uint8Array): void {
    const reason = this.#forward(from, to, datagram);
    if (reason !== undefined) this.#counters.add(AT[reason]);
  }

  #forward(from: NodeId, to: NodeId, datagram: Uint8Array): RelayDrop | undefined {
    const sender = this.#rows.get(from);
    const receiver = this.#rows.get(to);
    if (sender === undefined) return 'unbound';
    if (!mayBeRelayed(viewOf(datagram), 0, datagram.length)) return 'not-relayed';
    if (receiver === undefined) return 'unknown-member';
    if (sender === receiver) return 'to-self';
    this.#limit.fill(sender, bootTime());
    if (!this.#limit.take(sender, datagram.length)) return 'over-rate';
    this.#counters.add(AT['channel-frames-in']);
    this.#counters.add(AT['channel-bytes-in'], datagram.length);
    if (Atomics.load(this.#flags, receiver) === 0) {
      this.#handOut(to, from, datagram);
      return undefined;
    }
    const ring = this.#down;
    const at = ring.claim(sender);
    if (at < 0) return 'channel-busy';
    const { view, bytes } = ring.memory;
    view.setUint32(at + FRAME_RECORD.row, receiver, true);
    view.setUint32(at + FRAME_RECORD.to, to, true);
    view.setUint32(at + FRAME_RECORD.from, from, true);
    view.setUint32(at + FRAME_RECORD.length, datagram.length, true);
    bytes.set(datagram, at + FRAME_RECORD.datagram);
    ring.commit(sender);
    this.#worker.wake();
    return undefined;
  }

  counters(): RelayCounters {
    return sumCounters([this.#counters, this.#workerCounters]);
  }

  close(): Promise<void> {
    this.#closing ??= this.#worker.close().then(() => this.#socket.close());
    return this.#closing;
  }

  #readFrames(): void {
    const { ring, memory } = this.#up;
    for (let i = 0; i < FRAMES_PER_TURN && ring.pending > 0; i++) {
      const at = ring.peek();
      const to = memory.view.getUint32(at + FRAME_RECORD.to, true);
      const from = memory.view.getUint32(at + FRAME_RECORD.from, true);
      const begin = at + FRAME_RECORD.datagram;
      const length = memory.view.getUint32(at + FRAME_RECORD.length, true);
      const datagram = memory.bytes.slice(begin, begin + length);
      ring.release();
      // Either may have been detached since.
      if (this.#rows.has(to) && this.#rows.has(from)) this.#handOut(to, from, datagram);
      else this.#counters.add(AT['unknown-member']);
      if (this.#closing !== undefined) return;
    }
    // There may be more, after other events.
    if (ring.pending > 0) this.#worker.wakeAgain();
  }

  #handOut(to: NodeId, from: NodeId, datagram: Uint8Array): void {
    this.#counters.add(AT['channel-frames-out']);
    this.#counters.add(AT['channel-bytes-out'], datagram.length);
    this.#options.onFrame(to, from, datagram);
  }
}
