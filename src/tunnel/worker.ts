import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { type Aead, loadAead } from '../crypto/aead.js';
import { createChecksum } from '../ip/checksum-wasm.js';
import { Coalescer } from '../ip/coalesce.js';
import { PrefixLookup } from '../ip/prefix-table.js';
import { Segmenter } from '../ip/segment.js';
import { canSendSegments, receiveSegments } from '../linux/net/udp.js';
import { bootTime } from '../linux/process/clock.js';
import { POLL, Poller, Waker } from '../linux/threads/poll.js';
import { answerPulse, type PollingWorkerData, runWorker } from '../linux/threads/polling-worker.js';
import { SharedRing } from '../linux/threads/shared-ring.js';
import { setOffloads } from '../linux/tun/tun.js';
import { DropCounters } from '../wireguard/drops.js';
import { NO_INDEX, type PeerNumber, type ReceiverIndex } from '../wireguard/numbers.js';
import { makeArena } from './arena.js';
import { TUNNEL_DROP } from './drops.js';
import { Inbound } from './inbound.js';
import {
  COMMAND,
  COMMAND_RECORD,
  COMMANDS,
  type PortMessage,
  REPORT_RECORD,
  REPORTS,
  WAKE_UP_RECORD,
  WAKE_UPS,
  type WorkerMessage,
} from './messages.js';
import type { Offload } from './offloads.js';
import { Outbound } from './outbound.js';
import { forgetSource, type PeerState, Peers, setEndpoint, useSource } from './peers.js';
import { Rows } from './rows.js';
import { WorkerContext } from './worker-context.js';

/** What the engine gives its worker. */
export interface TunnelWorkerData extends PollingWorkerData {
  readonly tunFd: number;
  readonly mtu: number;
  readonly offloads: readonly Offload[];
  /** See `WorkerContext`. */
  readonly followsPeers: boolean;
  readonly sideChannel: boolean;
  readonly reports: SharedArrayBuffer;
  readonly wakeUps: SharedArrayBuffer;
  readonly drops: SharedArrayBuffer;
}

const TUN = 0;
const UDP = 1;
const WAKE = 2;

/** The data plane's thread. It blocks in poll(2), moves packets and executes commands. */
class TunnelWorker {
  readonly #data: TunnelWorkerData;
  readonly #rows = new Rows();
  readonly #peers = new Peers(this.#rows);
  readonly #aead: Aead;
  readonly #commands: SharedRing;
  readonly #waker: Waker;
  readonly #pulse: Int32Array;
  readonly #context: WorkerContext;
  readonly #outbound: Outbound;
  readonly #inbound: Inbound;
  readonly #poller: Poller;
  /** The name of the checksum's implementation. */
  readonly #checksum: string;
  #stopping = false;
  /** Whether one of the commands that are being executed set the interface down. */
  #wentDown = false;

  constructor(data: TunnelWorkerData) {
    this.#data = data;
    this.#aead = loadAead(data.offloads.includes('evp'));
    this.#commands = new SharedRing(COMMAND_RECORD.size, COMMANDS, data.commands);
    this.#waker = new Waker(data.wakeWorker);
    this.#pulse = new Int32Array(data.pulse);
    const allowed = { tcp: data.offloads.includes('tun-tcp'), udp: data.offloads.includes('tun-udp') };
    this.#context = new WorkerContext(
      { ...data, offloads: setOffloads(data.tunFd, allowed) },
      { peers: this.#peers, rows: this.#rows, drops: new DropCounters(TUNNEL_DROP, data.drops) },
      {
        reports: new SharedRing(REPORT_RECORD.size, REPORTS, data.reports),
        wakeUps: new SharedRing(WAKE_UP_RECORD.size, WAKE_UPS, data.wakeUps),
        waker: new Waker(data.wakeMain),
      },
    );
    const arena = makeArena();
    const { sum, kernel } = createChecksum(
      arena.bytes,
      data.offloads.includes('simd') ? arena.memory : undefined,
    );
    this.#checksum = kernel;
    this.#outbound = new Outbound(this.#context, this.#aead, arena, new Segmenter(arena, sum));
    const { virtioHeader, tcp, udp } = this.#context.offloads;
    const coalescer = virtioHeader ? new Coalescer(arena, sum, { tcp, udp }) : undefined;
    this.#inbound = new Inbound(this.#context, this.#aead, arena, coalescer);
    this.#poller = new Poller([data.tunFd, -1, data.wakeWorker]);
  }

  /** @returns whether the device was removed; otherwise there was a command to stop */
  run(): boolean {
    while (!this.#stopping && !this.#context.deviceGone) {
      this.#poller.wait(-1);
      const now = bootTime();
      if (this.#poller.events(WAKE) !== 0) {
        this.#waker.clear();
        answerPulse(this.#pulse);
      }
      this.#execute(now);
      const udp = this.#poller.events(UDP);
      if (this.#context.udpFd >= 0) {
        if ((udp & ~POLL.out) !== 0) this.#inbound.fromUdp(now);
        this.#outbound.resume(now);
      }
      const tun = this.#poller.events(TUN);
      if ((tun & POLL.error) !== 0)
        this.#context.deviceGone = true; // only removal causes an error
      else if (tun !== 0 && this.#readsDevice) this.#outbound.fromTun(now);
      // POLL.priority never occurs, but poll(2) reports the device's removal only where it waits for something.
      this.#poller.watch(TUN, this.#readsDevice ? POLL.in : POLL.priority);
      this.#poller.watch(UDP, this.#outbound.blocked ? POLL.in | POLL.out : POLL.in);
      this.#context.wakeControlPlane();
    }
    this.#peers.eraseKeys();
    this.#aead.forget();
    return this.#context.deviceGone;
  }

  /**
   * When the socket is full, the device is not read: its queue fills, and senders slow down. It is not read either
   * before the worker knows that it is up: packets that are sent right after `ip link set up` wait in its queue.
   */
  get #readsDevice(): boolean {
    return this.#context.up && !this.#outbound.blocked;
  }

  #execute(now: number): void {
    const ring = this.#commands;
    for (let at = ring.peek(); at >= 0; at = ring.peek()) {
      const peer = this.#peers.get(ring.view.getUint32(at + COMMAND_RECORD.peer, true) as PeerNumber);
      const command = ring.view.getUint32(at + COMMAND_RECORD.command, true);
      if (peer !== undefined) this.#executeForPeer(command, peer, at, now);
      else this.#executeForAll(command, at);
      ring.bytes.fill(0, at, at + COMMAND_RECORD.size); // keys do not stay
      ring.release();
    }
    // Only if the device is still down: otherwise these packets were sent after it came up again.
    if (this.#wentDown && !this.#context.up) this.#outbound.dropAll();
    this.#wentDown = false;
  }

  #executeForPeer(command: number, peer: PeerState, at: number, now: number): void {
    const { view, bytes } = this.#commands;
    const localIndex = view.getUint32(at + COMMAND_RECORD.localIndex, true) as ReceiverIndex;
    const argument = view.getInt32(at + COMMAND_RECORD.argument, true);
    switch (command) {
      case COMMAND.installKeypair: {
        const keypair = {
          localIndex,
          remoteIndex: view.getUint32(at + COMMAND_RECORD.remoteIndex, true) as ReceiverIndex,
          initiator: argument === 1,
          createdAt: view.getFloat64(at + COMMAND_RECORD.createdAt, true),
          rekeySendingAt: view.getFloat64(at + COMMAND_RECORD.rekeySendingAt, true),
          rekeyReceivingAt: view.getFloat64(at + COMMAND_RECORD.rekeyReceivingAt, true),
          rejectAt: view.getFloat64(at + COMMAND_RECORD.rejectAt, true),
        };
        this.#peers.beginSession(peer, keypair, bytes, at + COMMAND_RECORD.sendingKey);
        break;
      }
      case COMMAND.useKeypair:
        peer.current = localIndex === NO_INDEX ? undefined : this.#peers.session(localIndex);
        if (peer.current !== undefined) {
          this.#outbound.release(peer, argument === 1, now);
        }
        break;
      case COMMAND.dropKeypair:
        this.#peers.endSession(localIndex);
        this.#aead.forget();
        break;
      case COMMAND.keepalive:
        this.#outbound.release(peer, true, now);
        break;
      case COMMAND.discardQueue:
        this.#outbound.discard(peer);
        break;
      case COMMAND.setEndpoint:
        setEndpoint(peer, bytes, at + COMMAND_RECORD.endpoint);
        peer.settings++;
        break;
      case COMMAND.forgetSource:
        forgetSource(peer);
        peer.settings++;
        break;
      case COMMAND.useSource:
        useSource(peer, bytes, view, at + COMMAND_RECORD.endpoint, argument === 1);
        break;
      case COMMAND.removePeer:
        this.#outbound.discard(peer);
        this.#peers.remove(peer.id);
        break;
    }
  }

  #executeForAll(command: number, at: number): void {
    const argument = this.#commands.view.getInt32(at + COMMAND_RECORD.argument, true);
    switch (command) {
      case COMMAND.addPeer:
        this.#peers.add(this.#commands.view.getUint32(at + COMMAND_RECORD.peer, true) as PeerNumber);
        break;
      case COMMAND.setMtu:
        this.#context.mtu = argument;
        break;
      case COMMAND.setUp:
        this.#context.up = argument === 1;
        if (argument === 0) this.#wentDown = true;
        break;
      case COMMAND.setSocket:
        this.#setSocket(argument);
        break;
      case COMMAND.setRelay:
        this.#inbound.setRelay(argument, this.#commands.bytes, at + COMMAND_RECORD.endpoint);
        break;
      case COMMAND.readPort:
        this.#readPort();
        break;
      case COMMAND.stop:
        this.#stopping = true;
        break;
    }
  }

  #setSocket(fd: number): void {
    this.#context.udpFd = fd;
    this.#poller.replace(UDP, fd);
    if (fd < 0) return;
    const { offloads } = this.#data;
    const { tcp, udp } = this.#context.offloads;
    const send = offloads.includes('send') && canSendSegments(fd);
    const receive = offloads.includes('receive') && receiveSegments(fd);
    const { name: aead } = this.#aead;
    const inUse = { tunTcp: tcp, tunUdp: udp, send, receive, checksum: this.#checksum, aead };
    this.#outbound.sendsRuns = send;
    tell(this.#data.port, { kind: 'offloads', inUse });
  }

  #readPort(): void {
    for (
      let next = receiveMessageOnPort(this.#data.port);
      next;
      next = receiveMessageOnPort(this.#data.port)
    ) {
      const message = next.message as PortMessage;
      if (message.kind === 'rows') this.#rows.addPage(message.page);
      else {
        this.#outbound.allowedIps = new PrefixLookup(message.table);
        this.#inbound.allowedIps = new PrefixLookup(message.table);
      }
    }
  }
}

const tell = (port: MessagePort, message: WorkerMessage): void => port.postMessage(message);

const data = workerData as TunnelWorkerData;
runWorker(data, () => {
  const deviceGone = new TunnelWorker(data).run();
  tell(data.port, { kind: deviceGone ? 'device-gone' : 'stopped' });
});
