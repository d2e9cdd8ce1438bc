import type { Aead } from '../crypto/aead.js';
import { updateChecksum } from '../ip/checksum.js';
import { type Coalescer, MAX_SEGMENTS } from '../ip/coalesce.js';
import { IPV4, IPV6, ipVersion } from '../ip/packet.js';
import type { PrefixLookup } from '../ip/prefix-table.js';
import { ERRNO } from '../linux/ffi/errno.js';
import { errno, libc } from '../linux/ffi/libc.js';
import { allocate, type Memory, writeUint64 } from '../linux/ffi/memory.js';
import { ENDPOINT, IOVEC, ReceiveBatch } from '../packets/udp-batch.js';
import { isControlLength, MAGIC, RELAY_FRAME } from '../protocol/relay.js';
import { askForHandshake, noteConfirmed, noteReceived } from '../wireguard/activity.js';
import { COUNTER_LIMIT } from '../wireguard/constants.js';
import { ECN, ECN_DROP, ecnDecapsulate } from '../wireguard/ecn.js';
import {
  MESSAGE_TYPE,
  type MessageType,
  messageType,
  readCounter,
  TRANSPORT,
} from '../wireguard/messages.js';
import type { ReceiverIndex } from '../wireguard/numbers.js';
import { replayAccept, replayWouldRefuse } from '../wireguard/replay.js';
import { ARENA, OPENED_GAP, RECEIVE_BATCH } from './arena.js';
import type { TunnelDrop } from './drops.js';
import { MAX_RELAYS, REPORT, REPORT_RECORD } from './messages.js';
import { type PeerState, relayPeerOf, type Session } from './peers.js';
import { TRAFFIC } from './rows.js';
import type { WorkerContext } from './worker-context.js';

/**
 * About how many bytes a turn takes from the socket for each flow of the previous turn: as much as can be merged. The
 * answers, acknowledgments above all, wait for the end of the turn, so the number of flows is limited.
 */
const TURN = 64 * 1024;
const TURN_FLOWS = 4;

/**
 * The way in. A system call receives a batch of datagrams and bundles. Transport messages find their session by
 * receiver index and are opened; the packets are merged flow by flow and written to the TUN device. Everything else
 * goes to the control plane.
 */
export class Inbound {
  readonly #context: WorkerContext;
  readonly #aead: Aead;
  readonly #batch: ReceiveBatch;
  /** Merges packets, if the device accepts that. */
  readonly #coalescer: Coalescer | undefined;
  readonly #vectors = allocate(MAX_SEGMENTS * IOVEC.size);
  #allowedIps: PrefixLookup | undefined;
  /** The end of the last packet that was opened and is not yet written. */
  #openedEnd: number = ARENA.opened;
  /** The peer whose endpoint was compared with the sender of the current slot. */
  #comparedPeer: PeerState | undefined;
  #comparedRelayPeer = 0;
  /** `ENDPOINT` records of the addresses that relay frames may come from. */
  readonly #relays = allocate(MAX_RELAYS * ENDPOINT.size);
  /** Whether the current slot came from one of them; undefined until it is compared. */
  #fromRelay: boolean | undefined;
  /** The ECN field of the current slot. */
  #outerEcn = 0;
  /** The sender's id in the current relay frame; 0 for a message that came directly. */
  #relayPeer = 0;
  /** How many datagrams or bundles the next turn takes at most. */
  #slots = 1;
  /** How many flows this turn has seen. */
  #flows = 0;

  constructor(context: WorkerContext, aead: Aead, arena: Memory, coalescer: Coalescer | undefined) {
    this.#context = context;
    this.#aead = aead;
    this.#batch = new ReceiveBatch(RECEIVE_BATCH, arena, ARENA.receive);
    this.#coalescer = coalescer;
    coalescer?.begin();
  }

  set allowedIps(lookup: PrefixLookup) {
    this.#allowedIps = lookup;
  }

  /**
   * @param index below MAX_RELAYS
   * @param at where in `bytes` an `ENDPOINT` record begins; a name of length 0 means no relay
   */
  setRelay(index: number, bytes: Uint8Array, at: number): void {
    this.#relays.bytes.set(bytes.subarray(at, at + ENDPOINT.size), index * ENDPOINT.size);
  }

  /** Takes what the socket has, up to a turn's worth. @returns how many datagrams or bundles; less than 1 for none */
  fromUdp(now: number): number {
    const batch = this.#batch;
    const count = batch.receive(this.#context.udpFd, this.#slots);
    let bytes = 0;
    this.#flows = 1;
    for (let slot = 0; slot < count; slot++) {
      this.#comparedPeer = undefined;
      this.#fromRelay = undefined;
      this.#outerEcn = batch.trafficClass(slot) & ECN.mask;
      const length = batch.length(slot);
      bytes += length;
      const size = batch.segmentSize(slot);
      if (length === 0) this.#take(slot, batch.offset(slot), 0, now);
      for (let at = 0; at < length; at += size) {
        this.#take(slot, batch.offset(slot) + at, Math.min(size, length - at), now);
      }
    }
    this.#writeGroups();
    if (count > 0) this.#slots = slotsAfter(this.#slots, bytes / count, this.#flows);
    return count;
  }

  #take(slot: number, at: number, length: number, now: number): void {
    const reason = this.#handle(slot, at, length, now);
    if (reason !== undefined) this.#context.drops.count(reason);
  }

  /** @returns why a datagram is dropped; undefined when it is not */
  #handle(slot: number, at: number, length: number, now: number): TunnelDrop | undefined {
    this.#relayPeer = 0;
    const type = messageType(this.#batch.memory.view, at, length);
    if (type === 0 && this.#context.sideChannel) return this.#takeSideChannel(slot, at, length, now);
    if (!this.#context.up) return 'down';
    if (type === 0) return 'malformed';
    return this.#takeMessage(type, slot, at, length, now);
  }

  #takeMessage(
    type: MessageType,
    slot: number,
    at: number,
    length: number,
    now: number,
  ): TunnelDrop | undefined {
    if (type === MESSAGE_TYPE.transport) return this.#open(slot, at, length, now);
    return this.#report(REPORT.datagram, slot, at, length);
  }

  /** Handles relay frames and the control plane's messages beside WireGuard. */
  #takeSideChannel(slot: number, at: number, length: number, now: number): TunnelDrop | undefined {
    const { view } = this.#batch.memory;
    const magic = length < RELAY_FRAME.payload ? 0 : view.getInt32(at, true);
    if (magic === MAGIC.probe) return this.#report(REPORT.sideChannel, slot, at, length);
    // From any address: its MAC proves who sent it, and a relay must be heard before it is used.
    if (magic === MAGIC.control && isControlLength(length))
      return this.#report(REPORT.sideChannel, slot, at, length);
    if (magic !== MAGIC.relay) return 'malformed';
    this.#fromRelay ??= this.#isFromRelay(slot);
    if (!this.#fromRelay) return 'not-the-relay';
    this.#relayPeer = view.getUint32(at + RELAY_FRAME.peer, true);
    const inside = at + RELAY_FRAME.payload;
    const size = length - RELAY_FRAME.payload;
    const type = messageType(view, inside, size);
    if (type !== 0 && this.#relayPeer !== 0)
      return this.#context.up ? this.#takeMessage(type, slot, inside, size, now) : 'down';
    const isProbe = this.#relayPeer !== 0 && size >= 4 && view.getInt32(inside, true) === MAGIC.probe;
    return isProbe ? this.#report(REPORT.sideChannel, slot, inside, size) : 'malformed';
  }

  #isFromRelay(slot: number): boolean {
    for (let i = 0; i < MAX_RELAYS; i++)
      if (this.#batch.sentBy(slot, this.#relays, i * ENDPOINT.size)) return true;
    return false;
  }

  #report(report: number, slot: number, at: number, length: number): TunnelDrop | undefined {
    if (length > REPORT_RECORD.size - REPORT_RECORD.datagram) return 'malformed';
    return this.#context.report(report, this.#batch, slot, at, length, this.#relayPeer) ? undefined : 'busy';
  }

  #open(slot: number, at: number, length: number, now: number): TunnelDrop | undefined {
    const { memory } = this.#batch;
    const { view } = memory;
    const session = this.#context.peers.session(
      view.getUint32(at + TRANSPORT.receiver, true) as ReceiverIndex,
    );
    if (session === undefined) return 'unknown-index';
    const { keypair, window, peer } = session;
    const counter = readCounter(view, at + TRANSPORT.counter);
    if (counter >= COUNTER_LIMIT) return 'counter-limit';
    if (now >= keypair.rejectAt) return 'expired-key';
    if (replayWouldRefuse(window, 0, counter)) return 'replayed';
    const payload = at + TRANSPORT.payload;
    const plain = length - TRANSPORT.overhead;
    const packet = this.#placeFor(plain);
    const { receivingKey } = session.keys;
    if (!this.#aead.open(receivingKey, counter, memory, payload, memory, packet, plain)) return 'bad-tag';
    if (!replayAccept(window, 0, counter)) return 'replayed';
    // Authentic from here on: it counts for roaming and timers, whatever it contains.
    this.#noteAuthentic(session, slot, length, plain > 0, now);
    if (plain === 0) return undefined;
    this.#openedEnd = packet + plain;
    return this.#deliver(peer, packet, plain);
  }

  /** Where to open the next packet: behind those that are not yet written. */
  #placeFor(length: number): number {
    const place = alignUp(this.#openedEnd) + OPENED_GAP;
    if (place + length <= ARENA.opened + ARENA.openedSize) return place;
    this.#writeGroups();
    return alignUp(this.#openedEnd) + OPENED_GAP;
  }

  #noteAuthentic(session: Session, slot: number, length: number, hasData: boolean, now: number): void {
    const { peer, keypair } = session;
    const { row, at } = peer;
    const context = this.#context;
    if (this.#comparedPeer !== peer || this.#comparedRelayPeer !== this.#relayPeer)
      this.#noteSender(peer, slot);
    row[at + TRAFFIC.received]! += length;
    if (!session.confirmed) {
      session.confirmed = true;
      noteConfirmed(row, at, keypair.localIndex);
      useConfirmed(session);
      context.requestWakeUp(peer.id);
    }
    if (noteReceived(row, at, hasData, now)) context.requestWakeUp(peer.id);
    if (session === peer.current && now >= keypair.rekeyReceivingAt && askForHandshake(row, at, now)) {
      context.requestWakeUp(peer.id);
    }
  }

  /**
   * An authentic packet shows its peer's endpoint, and the local address that answers must leave from. All datagrams of
   * a slot come from one address.
   */
  #noteSender(peer: PeerState, slot: number): void {
    const relayPeer = this.#relayPeer;
    const { endpoints, endpoint } = peer;
    const batch = this.#batch;
    this.#comparedPeer = peer;
    this.#comparedRelayPeer = relayPeer;
    const roamed = relayPeerOf(peer) !== relayPeer || !batch.sentBy(slot, endpoints, endpoint);
    if (roamed ? !this.#context.followsPeers : batch.cameTo(slot, endpoints, endpoint)) return;
    // Both threads update the endpoint, or neither: if the ring is full, the next packet tries again.
    if (this.#context.reportPlace(peer, batch, slot, relayPeer))
      batch.writeEndpoint(slot, endpoints, endpoint, relayPeer);
  }

  /** Checks the inner packet, and passes it on. */
  #deliver(peer: PeerState, packet: number, length: number): TunnelDrop | undefined {
    const { bytes, view } = this.#batch.memory;
    const whole = innerLength(view, packet, length);
    if (whole === 0) return 'bad-inner-packet';
    const version = ipVersion(view, packet);
    const lookup = this.#allowedIps;
    const owner =
      version === 4 ? lookup?.find4(bytes, packet + IPV4.source) : lookup?.find6(bytes, packet + IPV6.source);
    if (owner !== peer.id) return 'not-allowed-source';
    const outer = this.#outerEcn;
    if (outer !== 0 && !applyEcn(view, packet, version, outer)) return 'congestion';
    const coalescer = this.#coalescer;
    if (coalescer === undefined) return this.#write(packet, whole);
    if (!coalescer.add(packet, whole)) {
      this.#writeGroups();
      this.#openedEnd = packet + length; // it stays where it is
      coalescer.add(packet, whole);
    }
    return undefined;
  }

  /** Writes the merged packets. */
  #writeGroups(): void {
    const coalescer = this.#coalescer;
    this.#openedEnd = ARENA.opened;
    if (coalescer === undefined) return;
    coalescer.finish();
    this.#flows = Math.max(this.#flows, coalescer.flowCount);
    for (let group = 0; group < coalescer.groupCount; group++) {
      const pieces = coalescer.pieceCount(group);
      const reason =
        pieces === 1
          ? this.#write(coalescer.pieceOffset(group, 0), coalescer.pieceLength(group, 0))
          : this.#writePieces(coalescer, group, pieces);
      if (reason !== undefined) this.#context.drops.count(reason, pieces);
    }
    coalescer.begin();
  }

  #write(at: number, length: number): TunnelDrop | undefined {
    const written = libc.write(this.#context.tunFd, this.#batch.memory.address + at, length);
    return written >= 0 ? undefined : this.#refused();
  }

  #writePieces(coalescer: Coalescer, group: number, pieces: number): TunnelDrop | undefined {
    const { view, address } = this.#vectors;
    for (let i = 0; i < pieces; i++) {
      const base = this.#batch.memory.address + coalescer.pieceOffset(group, i);
      writeUint64(view, i * IOVEC.size + IOVEC.base, base);
      view.setUint32(i * IOVEC.size + IOVEC.length, coalescer.pieceLength(group, i), true);
    }
    return libc.writev(this.#context.tunFd, address, pieces) >= 0 ? undefined : this.#refused();
  }

  /** Why the kernel refused a packet. */
  #refused(): TunnelDrop {
    const number = errno();
    this.#context.deviceFailed(number);
    return number === ERRNO.EIO ? 'down' : 'refused';
  }
}

/** How many slots the next turn gets, given their average length in the last one: at most twice as many. */
function slotsAfter(slots: number, bytes: number, flows: number): number {
  const turn = TURN * Math.min(flows, TURN_FLOWS);
  return Math.max(1, Math.floor(Math.min(RECEIVE_BATCH, 2 * slots, turn / bytes)));
}

/**
 * The session's initiator has confirmed it, so send under it from now on. The control plane will say so too, but
 * perhaps only after the answer to this packet was read, and a restarted peer knows no older session. Where both sides
 * began at once, only the control plane decides which session to use.
 */
function useConfirmed(session: Session): void {
  const { current } = session.peer;
  if (current === undefined || current.keypair.createdAt < session.keypair.createdAt) {
    session.peer.current = session;
  }
}

/** Packets begin at cache lines: copying and decrypting is faster then. */
const alignUp = (offset: number): number => (offset + 63) & ~63;

/** The length in an inner packet's header, which padding may follow; 0 for a malformed packet. */
function innerLength(view: DataView, at: number, available: number): number {
  if (available < IPV4.minLength) return 0;
  const version = ipVersion(view, at);
  if (version === 4) {
    const length = view.getUint16(at + IPV4.totalLength);
    return length >= IPV4.minLength && length <= available ? length : 0;
  }
  if (version !== 6 || available < IPV6.headerLength) return 0;
  const length = IPV6.headerLength + view.getUint16(at + IPV6.payloadLength);
  return length <= available ? length : 0;
}

/** Carries the outer ECN field into the packet, RFC 6040 §4.2. @returns false when it must be dropped */
function applyEcn(view: DataView, packet: number, version: number, outer: number): boolean {
  // The field is in the two low bits of byte 1 in IPv4, and in bits 5 and 4 of byte 1 in IPv6.
  const word = view.getUint16(packet);
  const shift = version === 4 ? 0 : 4;
  const inner = (word >> shift) & ECN.mask;
  const ecn = ecnDecapsulate(inner, outer);
  if (ecn === ECN_DROP) return false;
  if (ecn === inner) return true;
  const changed = (word & ~(ECN.mask << shift)) | (ecn << shift);
  view.setUint16(packet, changed);
  if (version === 4) {
    const checksum = view.getUint16(packet + IPV4.checksum);
    view.setUint16(packet + IPV4.checksum, updateChecksum(checksum, word, changed));
  }
  return true;
}
