import type { Endpoint } from '../ip/endpoint.js';
import { allocate, type Memory } from '../linux/ffi/memory.js';
import { AF } from '../linux/net/socket-address.js';
import { bootTime } from '../linux/process/clock.js';
import { NOBODY, PollingWorker } from '../linux/threads/polling-worker.js';
import { SharedRing } from '../linux/threads/shared-ring.js';
import { SendBatch } from '../packets/send-batch.js';
import { ENDPOINT, limitHops } from '../packets/udp-batch.js';
import { MAGIC, RELAY_FRAME } from '../protocol/relay.js';
import type { Transfer } from '../wireguard/activity.js';
import { resetActivity } from '../wireguard/activity.js';
import { DropCounters } from '../wireguard/drops.js';
import type { PathRule } from '../wireguard/events.js';
import type { Keypair } from '../wireguard/keypair.js';
import { erase } from '../wireguard/messages.js';
import type { PeerNumber, ReceiverIndex } from '../wireguard/numbers.js';
import { TUNNEL_DROP } from './drops.js';
import { type Engine, type EngineEvents, MAX_SIDE_CHANNEL, type SocketEndpoint } from './engine.js';
import { KernelEndpoint, readEndpoint, writeEndpoint } from './kernel-endpoint.js';
import {
  COMMAND,
  COMMAND_RECORD,
  COMMANDS,
  MAX_RELAYS,
  type PortMessage,
  REPORT,
  REPORT_RECORD,
  REPORTS,
  WAKE_UP_RECORD,
  WAKE_UPS,
  type WorkerMessage,
} from './messages.js';
import type { Offload } from './offloads.js';
import { PeerNumbers } from './peer-numbers.js';
import { Rows, TRAFFIC } from './rows.js';
import type { TunnelWorkerData } from './worker.js';

/** How many handshake messages and wake-ups are handled before other events of the main thread get their turn. */
const REPORTS_PER_TURN = 64;
const WAKE_UPS_PER_TURN = 64;

export interface WorkerEngineOptions {
  /** A TUN device without packet information. The engine does not close it. */
  readonly tunFd: number;
  /** Bytes. */
  readonly mtu: number;
  /** The offloads that may be used. */
  readonly offloads: readonly Offload[];
  /** Who sets endpoints; `peers` unless given. */
  readonly paths?: PathRule;
  /** Whether relay frames and probes (`protocol/relay.ts`) are accepted. Otherwise they count as malformed. */
  readonly sideChannel?: boolean;
  readonly events: EngineEvents;
}

/** The engine of a device: a worker thread, and the rings that lead to it and back. */
export class WorkerEngine implements Engine {
  readonly #events: EngineEvents;
  readonly #worker: PollingWorker<TunnelWorkerData>;
  readonly #reports = new SharedRing(REPORT_RECORD.size, REPORTS);
  readonly #wakeUps = new SharedRing(WAKE_UP_RECORD.size, WAKE_UPS);
  readonly #drops = new DropCounters(TUNNEL_DROP);
  readonly #rows = new Rows();
  readonly #numbers: PeerNumbers;
  /** By peer: `PeerState.settings` once the worker has read all commands. */
  readonly #settings: number[] = [];
  #udpFd = -1;
  #family: number = AF.inet6;
  readonly #out: Memory = allocate(OUT.size);
  readonly #outBatch = new SendBatch(1);
  #closing = false;

  constructor({ tunFd, mtu, offloads, paths, sideChannel = false, events }: WorkerEngineOptions) {
    this.#events = events;
    this.#worker = new PollingWorker({
      program: 'tunnel/worker',
      data: {
        ...{ tunFd, mtu, offloads, followsPeers: paths !== 'owner', sideChannel },
        reports: this.#reports.buffer,
        wakeUps: this.#wakeUps.buffer,
        drops: this.#drops.buffer,
      },
      ...{ recordSize: COMMAND_RECORD.size, records: COMMANDS, stop: COMMAND.stop },
      onWake: () => this.#readReports(),
    });
    this.#numbers = new PeerNumbers(this.#worker.commands, [this.#reports, this.#wakeUps]);
    this.#worker.worker.once('error', (error) => this.#end(error));
    this.#worker.port.on('message', (message: WorkerMessage) => {
      if (message.kind === 'offloads') this.#events.offloads(message.inUse);
      else this.#end('device-gone');
    });
  }

  addPeer(): { readonly id: PeerNumber; readonly row: Float64Array; readonly at: number } {
    const id = this.#numbers.take();
    const page = this.#rows.grow(id);
    if (page !== undefined) this.#post({ kind: 'rows', page });
    this.#rows.clear(id);
    this.#settings[id] = 0;
    const row = this.#rows.array(id);
    const at = this.#rows.offset(id);
    resetActivity(row, at);
    this.#worker.command(COMMAND.addPeer, id);
    return { id, row, at };
  }

  removePeer(id: PeerNumber): void {
    this.#worker.command(COMMAND.removePeer, id);
    this.#numbers.giveBack(id);
  }

  installKeypair(peer: PeerNumber, keypair: Keypair, sendingKey: Uint8Array, receivingKey: Uint8Array): void {
    this.#worker.command(COMMAND.installKeypair, peer, (at) => {
      const { view, bytes } = this.#commands;
      view.setUint32(at + COMMAND_RECORD.localIndex, keypair.localIndex, true);
      view.setUint32(at + COMMAND_RECORD.remoteIndex, keypair.remoteIndex, true);
      view.setInt32(at + COMMAND_RECORD.argument, keypair.initiator ? 1 : 0, true);
      view.setFloat64(at + COMMAND_RECORD.createdAt, keypair.createdAt, true);
      view.setFloat64(at + COMMAND_RECORD.rekeySendingAt, keypair.rekeySendingAt, true);
      view.setFloat64(at + COMMAND_RECORD.rekeyReceivingAt, keypair.rekeyReceivingAt, true);
      view.setFloat64(at + COMMAND_RECORD.rejectAt, keypair.rejectAt, true);
      bytes.set(sendingKey, at + COMMAND_RECORD.sendingKey);
      bytes.set(receivingKey, at + COMMAND_RECORD.receivingKey);
    });
    erase(sendingKey, receivingKey);
  }

  useKeypair(peer: PeerNumber, localIndex: ReceiverIndex, confirm: boolean): void {
    this.#worker.command(COMMAND.useKeypair, peer, (at) => {
      this.#commands.view.setUint32(at + COMMAND_RECORD.localIndex, localIndex, true);
      this.#commands.view.setInt32(at + COMMAND_RECORD.argument, confirm ? 1 : 0, true);
    });
  }

  dropKeypair(peer: PeerNumber, localIndex: ReceiverIndex): void {
    this.#worker.command(COMMAND.dropKeypair, peer, (at) =>
      this.#commands.view.setUint32(at + COMMAND_RECORD.localIndex, localIndex, true),
    );
  }

  keepalive(peer: PeerNumber): void {
    this.#worker.command(COMMAND.keepalive, peer);
  }

  discardQueue(peer: PeerNumber): void {
    this.#worker.command(COMMAND.discardQueue, peer);
  }

  setEndpoint(peer: PeerNumber, endpoint: SocketEndpoint): void {
    this.#settings[peer] = (this.#settings[peer]! + 1) >>> 0;
    this.#worker.command(COMMAND.setEndpoint, peer, (at) =>
      writeEndpoint(this.#commands, at + COMMAND_RECORD.endpoint, this.#family, endpoint as KernelEndpoint),
    );
  }

  forgetSource(peer: PeerNumber): void {
    this.#settings[peer] = (this.#settings[peer]! + 1) >>> 0;
    this.#worker.command(COMMAND.forgetSource, peer);
  }

  useSource(peer: PeerNumber, endpoint: SocketEndpoint, use: boolean): void {
    const whole = endpoint.using(true) as KernelEndpoint;
    this.#worker.command(COMMAND.useSource, peer, (at) => {
      this.#commands.view.setInt32(at + COMMAND_RECORD.argument, use ? 1 : 0, true);
      writeEndpoint(this.#commands, at + COMMAND_RECORD.endpoint, this.#family, whole);
    });
  }

  setAllowedIps(table: Int32Array): void {
    this.#post({ kind: 'allowed-ips', table });
  }

  setMtu(mtu: number): void {
    this.#commandWith(COMMAND.setMtu, mtu);
  }

  setUp(up: boolean): void {
    this.#commandWith(COMMAND.setUp, up ? 1 : 0);
  }

  setSocket(fd: number, family: number): void {
    this.#udpFd = fd;
    this.#family = family;
    this.#commandWith(COMMAND.setSocket, fd);
  }

  sendDatagram(bytes: Uint8Array, to: SocketEndpoint, hops?: number): void {
    if (this.#udpFd < 0) return;
    const { bytes: out, view, address } = this.#out;
    writeEndpoint(this.#out, OUT.endpoint, this.#family, to as KernelEndpoint);
    if (hops !== undefined) limitHops(this.#out, OUT.endpoint, to.remote.address.length === 16, hops);
    view.setInt32(OUT.frame, MAGIC.relay, true);
    view.setUint32(OUT.frame + RELAY_FRAME.peer, to.relayPeer, true);
    out.set(bytes, OUT.datagram);
    const start = to.relayPeer === 0 ? OUT.datagram : OUT.frame;
    this.#outBatch.addTo(address + start, OUT.datagram + bytes.length - start, this.#out, OUT.endpoint);
    if (this.#outBatch.flush(this.#udpFd) === 0) return;
    if (hops === undefined) this.#outBatch.unpinSource(); // the source address may be gone
    if (this.#outBatch.flush(this.#udpFd) !== 0) this.#outBatch.skip(); // a handshake message is sent again anyway
  }

  setRelays(relays: readonly Endpoint[]): void {
    for (let i = 0; i < MAX_RELAYS; i++) {
      const relay = relays[i];
      this.#worker.command(COMMAND.setRelay, NOBODY, (at) => {
        this.#commands.view.setInt32(at + COMMAND_RECORD.argument, i, true);
        if (relay === undefined) return;
        writeEndpoint(this.#commands, at + COMMAND_RECORD.endpoint, this.#family, this.endpoint(relay));
      });
    }
  }

  endpoint(remote: Endpoint, relayPeer = 0): KernelEndpoint {
    return new KernelEndpoint(remote, relayPeer);
  }

  transfer(peer: PeerNumber): Transfer {
    const row = this.#rows.array(peer);
    const at = this.#rows.offset(peer);
    return { received: row[at + TRAFFIC.received]!, sent: row[at + TRAFFIC.sent]! };
  }

  drops(): ReadonlyMap<string, number> {
    return new Map(this.#drops.entries());
  }

  now(): number {
    return bootTime();
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.#worker.close();
  }

  #end(reason: 'device-gone' | Error): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#events.ended(reason);
  }

  get #commands(): SharedRing {
    return this.#worker.commands;
  }

  /** Sends a command that is not about a peer. */
  #commandWith(command: number, argument: number): void {
    this.#worker.command(command, NOBODY, (at) =>
      this.#commands.view.setInt32(at + COMMAND_RECORD.argument, argument, true),
    );
  }

  #post(message: PortMessage): void {
    this.#worker.port.postMessage(message);
    this.#commandWith(COMMAND.readPort, 0);
  }

  #readReports(): void {
    for (let i = 0; i < WAKE_UPS_PER_TURN && this.#wakeUps.pending > 0; i++)
      this.#readWakeUp(this.#wakeUps.peek());
    for (let i = 0; i < REPORTS_PER_TURN && this.#reports.pending > 0; i++) {
      this.#readReport(this.#reports.peek());
    }
    this.#numbers.reclaim();
    // The rest waits until other events had their turn.
    if (this.#wakeUps.pending > 0 || this.#reports.pending > 0) this.#worker.wakeAgain();
  }

  #readWakeUp(at: number): void {
    const peer = this.#wakeUps.view.getUint32(at + WAKE_UP_RECORD.peer, true) as PeerNumber;
    this.#wakeUps.release();
    this.#rows.takeWakeUp(peer);
    this.#events.wakeUp(peer);
  }

  #readReport(at: number): void {
    const { view, bytes } = this.#reports;
    const report = view.getUint32(at + REPORT_RECORD.report, true);
    const peer = view.getUint32(at + REPORT_RECORD.peer, true) as PeerNumber;
    const length = view.getUint32(at + REPORT_RECORD.length, true);
    const datagram = bytes.slice(at + REPORT_RECORD.datagram, at + REPORT_RECORD.datagram + length);
    const from = readEndpoint(this.#reports, at + REPORT_RECORD.endpoint);
    // A later setting is newer than this report, and the worker will follow it.
    const isCurrent = view.getUint32(at + REPORT_RECORD.settings, true) === this.#settings[peer];
    this.#reports.release();
    if (report === REPORT.roaming) {
      if (isCurrent) this.#events.roaming(peer, from);
    } else if (report === REPORT.sideChannel) this.#events.sideChannel(datagram, from);
    else this.#events.datagram(datagram, from, this.#reports.pending);
  }
}

/** Memory for a datagram of the control plane: its endpoint's record, room for a relay frame's header, the datagram. */
const OUT = {
  endpoint: 0,
  frame: ENDPOINT.size,
  datagram: ENDPOINT.size + RELAY_FRAME.payload,
  size: ENDPOINT.size + RELAY_FRAME.payload + MAX_SIDE_CHANNEL,
} as const;
