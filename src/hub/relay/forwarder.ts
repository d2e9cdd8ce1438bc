import { libc } from '../../linux/ffi/libc.js';
import { allocate, type Memory } from '../../linux/ffi/memory.js';
import { SocketFilter } from '../../linux/net/socket-filter.js';
import { ReceiveQueue } from '../../linux/net/udp.js';
import { SendBatch } from '../../packets/send-batch.js';
import { ENDPOINT, ReceiveBatch } from '../../packets/udp-batch.js';
import { MAGIC, mayBeRelayed, RELAY_CONTROL, RELAY_FRAME } from '../../protocol/relay.js';
import { ECN } from '../../wireguard/ecn.js';
import type { Binds } from './binds.js';
import { AT, type Counters } from './counters.js';
import { costOf, FairShare, limitFrames, type RateLimit } from './fair-share.js';
import type { RelayMembers } from './members.js';
import { type FairRing, FRAME_RECORD } from './records.js';
import { Sender } from './sender.js';
import { MOST, Thinning } from './thinning.js';

/** How many datagrams or bundles are received in one turn. */
const BATCH = 64;

/** Frames per second from one member to channels: the main thread seals each, and has other work. */
const TO_CHANNELS = 12_000;

/** How many frames from channels are sent in one turn. */
const CHANNEL_FRAMES = 128;

export interface ForwarderParts {
  readonly fd: number;
  readonly sendsRuns: boolean;
  readonly members: RelayMembers;
  readonly binds: Binds;
  readonly counters: Counters;
  readonly limit: RateLimit;
  /** Frames to and from channels. */
  readonly up: FairRing;
  readonly down: FairRing;
}

/**
 * Forwards frames. It receives a batch of datagrams, looks up each sender once, even for a bundle of many frames, and changes
 * every frame's id in place from the receiver's to the sender's. Successive frames of one size for one receiver leave as a
 * run, which the kernel cuts up.
 */
export class Forwarder {
  readonly #parts: ForwarderParts;
  readonly #members: RelayMembers;
  readonly #counters: Counters;
  readonly #batch = new ReceiveBatch(BATCH);
  readonly #names = new DataView(this.#batch.senderBytes.buffer);
  readonly #rows = new Int32Array(BATCH);
  readonly #share: FairShare;
  readonly #thinning: Thinning;
  readonly #filter: SocketFilter;
  readonly #toChannels: RateLimit;
  readonly #sender: Sender;
  readonly #queue: ReceiveQueue;
  readonly #answer: Memory = allocate(RELAY_CONTROL.maxLength);
  readonly #answers = new SendBatch(1);
  /** The receiver of the last frame: usually also of the next. */
  #lastId = 0;
  #lastRow = -1;
  #wake = false;

  constructor(parts: ForwarderParts) {
    this.#parts = parts;
    this.#members = parts.members;
    this.#counters = parts.counters;
    this.#thinning = new Thinning(parts.members.ids.length);
    this.#share = new FairShare(parts.members.ids.length, BATCH, this.#thinning);
    this.#toChannels = limitFrames(parts.members.ids.length, TO_CHANNELS);
    this.#filter = new SocketFilter(parts.fd, MOST);
    this.#queue = new ReceiveQueue(parts.fd);
    this.#sender = new Sender(parts.fd, parts.members.endpoints, parts.counters, parts.sendsRuns);
  }

  /** A member was attached or detached, so its row now belongs to another member. */
  forget(row: number): void {
    if (this.#thinning.forget(row)) this.#applyFilter();
  }

  /** Whether frames for channels were written since the last call. */
  takeWake(): boolean {
    const wake = this.#wake;
    this.#wake = false;
    return wake;
  }

  /** Receives and forwards up to a batch. @returns whether there may be more */
  fromUdp(now: number): boolean {
    const count = Math.max(0, this.#batch.receive(this.#parts.fd));
    const share = this.#share;
    this.#lastRow = -1; // commands may have been executed
    const fill = count < BATCH ? 0 : this.#queue.fill();
    share.begin(now, fill);
    for (let slot = 0; slot < count; slot++) this.#findSender(slot, now);
    if (share.limiting) share.settle();
    for (let slot = 0; slot < count; slot++) this.#takeSlot(slot, now);
    this.#sender.flush();
    this.thin(now, fill);
    return count === BATCH;
  }

  /** Whether the kernel thins out senders: then call `thin` every `THINNING_INTERVAL`. */
  get thinning(): boolean {
    return this.#thinning.count > 0;
  }

  /** @param fill how full the kernel's queue is */
  thin(now: number, fill: number): void {
    if (this.#thinning.decide(now, fill)) this.#applyFilter();
  }

  #applyFilter(): void {
    const thinning = this.#thinning;
    const { endpoints } = this.#members;
    this.#filter.clear();
    for (let i = 0; i < thinning.count; i++) {
      const row = thinning.senders[i]!;
      if (!this.#members.isBound(row)) continue;
      this.#filter.add(endpoints.view, row * ENDPOINT.size + ENDPOINT.name, thinning.keeps[i]!);
    }
    this.#filter.apply(); // some kernels refuse filters
  }

  #findSender(slot: number, now: number): void {
    const batch = this.#batch;
    const row = this.#members.bySender(this.#names, batch.senderOffset(slot));
    this.#rows[slot] = row;
    if (row < 0) return;
    this.#parts.limit.fill(row, now);
    this.#toChannels.fill(row, now);
    if (!this.#share.limiting) return;
    this.#share.want(row, costOf(batch.length(slot), batch.segmentSize(slot)));
  }

  #takeSlot(slot: number, now: number): void {
    const batch = this.#batch;
    const length = batch.length(slot);
    const size = batch.segmentSize(slot);
    const begin = batch.offset(slot);
    const ecn = batch.trafficClass(slot) & ECN.mask;
    if (length === 0) this.#counters.add(AT.malformed);
    for (let at = 0; at < length; at += size) {
      this.#take(slot, begin + at, Math.min(size, length - at), ecn, now);
    }
  }

  #take(slot: number, at: number, length: number, ecn: number, now: number): void {
    const { view } = this.#batch.memory;
    const magic = length >= RELAY_FRAME.payload ? view.getInt32(at, true) : 0;
    if (magic === MAGIC.relay) {
      const reason = this.#forward(this.#rows[slot]!, at, length, ecn);
      if (reason >= 0) this.#counters.add(reason);
    } else if (magic === MAGIC.control) this.#control(slot, at, length, now);
    else this.#counters.add(AT.malformed);
  }

  /** @returns the counter of the drop reason; -1 to forward the frame */
  #forward(from: number, at: number, length: number, ecn: number): number {
    const { memory } = this.#batch;
    const { view } = memory;
    const counters = this.#counters;
    if (from < 0) return AT.unbound;
    const payload = length - RELAY_FRAME.payload;
    if (!mayBeRelayed(view, at + RELAY_FRAME.payload, payload)) return AT['not-relayed'];
    const to = this.#receiver(view.getInt32(at + RELAY_FRAME.peer, true));
    if (to < 0) return AT['unknown-member'];
    if (to === from) return AT['to-self'];
    if (this.#share.limiting && !this.#share.may(from, costOf(length, length))) return AT['over-share'];
    if (!this.#parts.limit.take(from, length)) return AT['over-rate'];
    counters.add(AT['udp-frames-in']);
    counters.add(AT['udp-bytes-in'], payload);
    if (!this.#members.isBound(to)) {
      if (!this.#toChannels.take(from, 1)) return AT['over-rate'];
      const id = this.#members.ids[from]!;
      return this.#toChannel(from, to, id, memory.address + at + RELAY_FRAME.payload, payload)
        ? -1
        : AT['channel-busy'];
    }
    view.setInt32(at + RELAY_FRAME.peer, this.#members.ids[from]!, true);
    this.#sender.add(to, memory, at, length, ecn);
    return -1;
  }

  #receiver(id: number): number {
    if (this.#lastRow < 0 || this.#lastId !== id) {
      this.#lastRow = id === 0 ? -1 : this.#members.byId(id);
      this.#lastId = id;
    }
    return this.#lastRow;
  }

  /** @param data address of the datagram @returns false when the ring to the channels is full for this sender */
  #toChannel(sender: number, to: number, fromId: number, data: number, length: number): boolean {
    const { up } = this.#parts;
    const at = up.claim(sender);
    if (at < 0) return false;
    const { view, address } = up.memory;
    view.setInt32(at + FRAME_RECORD.to, this.#members.ids[to]!, true);
    view.setInt32(at + FRAME_RECORD.from, fromId, true);
    view.setUint32(at + FRAME_RECORD.length, length, true);
    libc.memcpy(address + at + FRAME_RECORD.datagram, data, length);
    up.commit(sender);
    this.#wake = true;
    return true;
  }

  /** How many datagrams or bundles arrived faster than they were received. */
  lost(): number {
    return this.#queue.drops();
  }

  /** Forwards frames from channels to bound members. */
  fromChannels(): void {
    const { ring, memory } = this.#parts.down;
    const { view } = memory;
    const count = Math.min(CHANNEL_FRAMES, ring.pending);
    for (let i = 0; i < count; i++) {
      const at = ring.peekAt(i);
      const to = view.getUint32(at + FRAME_RECORD.row, true);
      const length = view.getUint32(at + FRAME_RECORD.length, true);
      const from = view.getInt32(at + FRAME_RECORD.from, true);
      if (this.#members.ids[to] !== view.getInt32(at + FRAME_RECORD.to, true)) {
        this.#counters.add(AT['unknown-member']); // detached since
      } else if (this.#members.isBound(to)) {
        view.setInt32(at + FRAME_RECORD.frame, MAGIC.relay, true);
        view.setInt32(at + FRAME_RECORD.frame + RELAY_FRAME.peer, from, true);
        this.#sender.add(to, memory, at + FRAME_RECORD.frame, RELAY_FRAME.payload + length, 0);
      } else if (!this.#bounce(to, from, memory.address + at + FRAME_RECORD.datagram, length)) {
        this.#counters.add(AT['channel-busy']);
      }
    }
    this.#sender.flush();
    for (let i = 0; i < count; i++) ring.release();
  }

  /** Returns a frame to the channels: the receiver was bound when the main thread checked, and no longer is. */
  #bounce(to: number, from: number, data: number, length: number): boolean {
    const sender = this.#members.byId(from);
    return sender >= 0 && this.#toChannel(sender, to, from, data, length);
  }

  #control(slot: number, at: number, length: number, now: number): void {
    const { binds } = this.#parts;
    const { view, bytes } = this.#batch.memory;
    const members = this.#members;
    const row = binds.rowOf(view, at, length);
    if (row < 0) {
      this.#counters.add(AT['bad-bind']);
      return;
    }
    this.#sender.flush(); // a bind may change members' endpoints
    this.#batch.writeEndpoint(slot, members.endpoints, members.sought);
    const answer = binds.handle(row, bytes.slice(at, at + length), now);
    if (answer === undefined) return;
    this.#answer.bytes.set(answer);
    this.#answers.addTo(this.#answer.address, answer.length, members.endpoints, members.sought);
    // A lost answer is requested again.
    if (this.#answers.flush(this.#parts.fd) !== 0) this.#answers.skip();
  }
}
