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
   * A frame for a member that is attached but has bound no UDP address: send it through its channel. The bytes are the
   * receiver's own. Whoever cannot send drops it: do not let frames queue up without bound behind a slow channel.
   */
  readonly onFrame: (to: NodeId, from: NodeId, datagram: Uint8Array) => void;
  /** The relay's thread has died. It relays nothing any more; `close` it. */
  readonly onFailed: (error: Error) => void;
  /** What one member may send through UDP, and again through its channel: bits a second; 10^9 unless given. */
  readonly memberRate?: number;
  /** How many may be attached at once; 65 536 unless given. */
  readonly maxMembers?: number;
  /** Whether the kernel may cut up and put together runs of datagrams, where it can; yes unless given. */
  readonly offloads?: boolean;
}

/** By which a member binds its UDP address: `RelayCredentials` of the wire. */
export interface RelaySession {
  /** 8 bytes. */
  readonly session: Uint8Array;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** 10^9 bits a second. */
const MEMBER_RATE = 1e9;
const MAX_MEMBERS = 65_536;

/** Of the socket, each way, bytes: what comes while a turn of the worker is forwarded waits there. */
const SOCKET_BUFFER = 16 << 20;

/** How many frames for channels are handled before other events of the main thread get their turn. */
const FRAMES_PER_TURN = 64;

/**
 * The relay: it carries datagrams between members, by their ids. Frames that come and go by UDP never cross this thread:
 * a worker forwards them. One leg, or both, may be a member's channel instead: `fromChannel` takes what came through one,
 * and `onFrame` hands out what is to go through one.
 */
export class Relay {
  /** The UDP port it has. */
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
  /** What this thread counts, and what the worker does. */
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
      script: new URL('./worker.js', import.meta.url),
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
   * Listens on the port and relays for nobody yet.
   *
   * @throws LinuxError when the port cannot be had
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
   * Relays for a member from now on. One that is attached already gets a new session, and has bound no address: so call
   * `detach` only when its newest channel ends.
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

  /** Relays nothing for it, and nothing to it, any more. Harmless when it is not attached. */
  detach(node: NodeId): void {
    const row = this.#rows.get(node);
    if (row === undefined) return;
    this.#rows.delete(node);
    this.#freeRows.push(row);
    this.#worker.command(COMMAND.detach, row);
  }

  /**
   * Takes a frame that came through a member's channel. Whatever is wrong with it, it is dropped and counted.
   *
   * @param from whose channel it is
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
    // There may be more: when the others had their turn.
    if (ring.pending > 0) this.#worker.wakeAgain();
  }

  #handOut(to: NodeId, from: NodeId, datagram: Uint8Array): void {
    this.#counters.add(AT['channel-frames-out']);
    this.#counters.add(AT['channel-bytes-out'], datagram.length);
    this.#options.onFrame(to, from, datagram);
  }
}
