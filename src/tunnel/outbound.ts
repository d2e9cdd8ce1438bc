import { AEAD, type Aead } from '../crypto/aead.js';
import { IPV4, IPV6, ipVersion, wholePacket } from '../ip/packet.js';
import type { PrefixLookup } from '../ip/prefix-table.js';
import type { Segmenter } from '../ip/segment.js';
import { VIRTIO } from '../ip/virtio.js';
import { ERRNO } from '../linux/ffi/errno.js';
import { errno, libc } from '../linux/ffi/libc.js';
import { allocate, type Memory } from '../linux/ffi/memory.js';
import { sendDrop } from '../packets/run-sender.js';
import { SendBuffer } from '../packets/send-buffer.js';
import { MAGIC, RELAY_FRAME } from '../protocol/relay.js';
import { askForHandshake, noteSent } from '../wireguard/activity.js';
import { ecnEncapsulate } from '../wireguard/ecn.js';
import { maySend, wantsRekeySending } from '../wireguard/keypair.js';
import { MESSAGE_TYPE, paddingOf, TRANSPORT, writeCounter } from '../wireguard/messages.js';
import type { PeerNumber } from '../wireguard/numbers.js';
import { ARENA } from './arena.js';
import type { TunnelDrop } from './drops.js';
import { hasEndpoint, type PeerState, relayPeerOf, type Session } from './peers.js';
import { TRAFFIC } from './rows.js';
import { Unreachable } from './unreachable.js';
import { WaitingPackets } from './waiting.js';
import type { WorkerContext } from './worker-context.js';

/** More packets than a device's queue holds: 500 by default. */
const DEVICE_QUEUE = 1 << 16;

/** An upper limit for what sealing, padding and a relay frame add to a packet. */
const GROWTH = RELAY_FRAME.payload + TRANSPORT.overhead + 16 + AEAD.behind;

/**
 * The way out. Packets are read from the TUN device, and super-packets are segmented. Each packet finds its peer by
 * destination and is sealed. The messages leave as a batch, in runs of one size that the kernel splits. Packets without
 * a session wait in their peer's queue.
 */
export class Outbound {
  readonly #context: WorkerContext;
  readonly #aead: Aead;
  /** Packets are read into it. */
  readonly #arena: Memory;
  readonly #segmenter: Segmenter;
  /** Sealed messages. */
  readonly #sealed: SendBuffer;
  #blocked = false;
  #allowedIps: PrefixLookup | undefined;
  readonly #waiting = new WaitingPackets<PeerState>();
  readonly #unreachable: Unreachable;
  /** Peers with a session whose waiting packets found no room. */
  readonly #late = new Set<PeerState>();

  constructor(context: WorkerContext, aead: Aead, arena: Memory, segmenter: Segmenter) {
    this.#context = context;
    this.#aead = aead;
    this.#arena = arena;
    this.#segmenter = segmenter;
    this.#unreachable = new Unreachable(context);
    const { drops } = context;
    // The AEAD reads what is in front of a message.
    this.#sealed = new SendBuffer(
      allocate(AEAD.before + SendBuffer.size),
      AEAD.before,
      false,
      (errno, lost) => drops.count(sendDrop(errno), lost),
    );
  }

  /** Whether the socket takes runs of messages. */
  set sendsRuns(sendsRuns: boolean) {
    this.#sealed.sendsRuns = sendsRuns;
  }

  set allowedIps(lookup: PrefixLookup) {
    this.#allowedIps = lookup;
  }

  /** Whether the socket is full, and messages wait for it. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /** Reads what the TUN device has, up to a batch, and sends it. */
  fromTun(now: number): void {
    const { tunFd, offloads } = this.#context;
    const header = offloads.virtioHeader ? VIRTIO.length : 0;
    const begin = ARENA.packet - header;
    while (!this.#sealed.enough) {
      const length = libc.read(tunFd, this.#arena.address + begin, header + ARENA.packetSize);
      if (length < 0) {
        this.#context.deviceFailed(errno());
        break;
      }
      if (header === 0) this.#takePacket(ARENA.packet, length, now);
      else this.#takeSuperPacket(begin, length, now);
      if (this.#blocked) break; // a super-packet needed room, and the socket is full
    }
    this.flush();
  }

  /** The device went down: drops the packets that it still has. */
  dropAll(): void {
    const { tunFd, drops } = this.#context;
    const length = ARENA.packet + ARENA.packetSize;
    for (let i = 0; i < DEVICE_QUEUE; i++) {
      if (libc.read(tunFd, this.#arena.address, length) >= 0) {
        drops.count('down');
        continue;
      }
      const number = errno();
      this.#context.deviceFailed(number);
      if (number === ERRNO.EAGAIN || this.#context.deviceGone) return;
    }
  }

  /** Sends the sealed messages. */
  flush(): void {
    this.#blocked = this.#sealed.flush(this.#context.udpFd);
  }

  /**
   * Sends what waits for the socket. Call it before each wait, even when nothing is blocked: a flush for another peer
   * may have found the room that a late peer waits for.
   */
  resume(now: number): void {
    if (!this.#blocked && this.#late.size === 0) return;
    this.flush();
    for (const peer of this.#late) {
      if (this.#blocked) return;
      this.#late.delete(peer);
      this.release(peer, false, now);
    }
  }

  /** Sends the packets that wait for a peer's session; with `orKeepalive`, an empty packet if none waits. */
  release(peer: PeerState, orKeepalive: boolean, now: number): void {
    if (peer.waiting.length === 0 && orKeepalive && !this.#sendCopy(peer, EMPTY, now)) this.#ask(peer, now);
    while (peer.waiting.length > 0 && this.#sendCopy(peer, peer.waiting[0]!, now)) {
      this.#waiting.shift(peer);
    }
    if (this.#blocked && peer.waiting.length > 0) this.#late.add(peer);
    this.flush();
  }

  /** The handshake was given up: drops the packets that wait for it. */
  discard(peer: PeerState): void {
    this.#late.delete(peer);
    this.#context.drops.count('no-session', this.#waiting.discard(peer));
  }

  /** Takes a packet or super-packet behind its `virtio_net_hdr`. */
  #takeSuperPacket(at: number, length: number, now: number): void {
    const { drops } = this.#context;
    const segmenter = this.#segmenter;
    const count = segmenter.start(at, length);
    if (count === 0) drops.count('bad-inner-packet');
    else if (!this.#makeRoom(length + count * (GROWTH + MAX_HEADERS), count)) drops.count('congested', count);
    else while (segmenter.next()) this.#takePacket(segmenter.packet, segmenter.length, now);
  }

  /** Sends what is in the buffer if necessary. @returns whether this many bytes and messages fit now */
  #makeRoom(bytes: number, messages: number): boolean {
    if (this.#sealed.fits(bytes, messages)) return true;
    this.flush();
    return this.#sealed.fits(bytes, messages);
  }

  #takePacket(packet: number, length: number, now: number): void {
    const reason = this.#handle(packet, length, now);
    if (reason !== undefined) this.#context.drops.count(reason);
  }

  /** @returns why a packet is dropped; undefined when it is not */
  #handle(packet: number, length: number, now: number): TunnelDrop | undefined {
    const { bytes, view } = this.#arena;
    const version = wholePacket(view, packet, length);
    if (version === 0) return 'bad-inner-packet';
    const peer = this.#peerFor(bytes, packet, version);
    if (peer === undefined || !hasEndpoint(peer)) {
      this.#unreachable.answer(this.#arena, packet, version, length, now);
      return peer === undefined ? 'no-peer' : 'no-endpoint';
    }
    if (this.#seal(peer, packet, length, now)) return undefined;
    this.#ask(peer, now);
    const gone = this.#waiting.add(peer, bytes.slice(packet, packet + length));
    if (gone > 0) this.#context.drops.count('queue-full', gone);
    return undefined;
  }

  #peerFor(bytes: Uint8Array, packet: number, version: 4 | 6): PeerState | undefined {
    const lookup = this.#allowedIps;
    if (lookup === undefined) return undefined;
    const id =
      version === 4
        ? lookup.find4(bytes, packet + IPV4.destination)
        : lookup.find6(bytes, packet + IPV6.destination);
    return id < 0 ? undefined : this.#context.peers.get(id as PeerNumber);
  }

  #ask(peer: PeerState, now: number): void {
    if (askForHandshake(peer.row, peer.at, now)) this.#context.requestWakeUp(peer.id);
  }

  /** Copies a packet into the arena and seals it. @returns false when there is no session or no room */
  #sendCopy(peer: PeerState, packet: Uint8Array, now: number): boolean {
    if (!hasEndpoint(peer) || !this.#makeRoom(packet.length + GROWTH, 1)) return false;
    this.#arena.bytes.set(packet, ARENA.packet);
    return this.#seal(peer, ARENA.packet, packet.length, now);
  }

  /**
   * Seals a packet of the arena, [W] 5.4.6, behind the messages that are already in the buffer.
   *
   * @returns false when there is no session
   */
  #seal(peer: PeerState, packet: number, length: number, now: number): boolean {
    const session = peer.current;
    if (session === undefined || !maySend(session.keypair, session.counter, now)) return false;
    const arena = this.#arena;
    const { memory, end } = this.#sealed;
    const { view } = memory;
    const at = end + this.#frame(peer);
    const padding = paddingOf(length, this.#context.mtu);
    const counter = session.counter++;
    view.setUint32(at, MESSAGE_TYPE.transport, true);
    view.setUint32(at + TRANSPORT.receiver, session.keypair.remoteIndex, true);
    writeCounter(view, at + TRANSPORT.counter, counter);
    const ecn = length === 0 ? 0 : ecnEncapsulate(trafficClass(arena.view, packet));
    if (padding > 0) this.#pad(packet + length, padding);
    const { sendingKey } = session.keys;
    this.#aead.seal(sendingKey, counter, arena, packet, memory, at + TRANSPORT.payload, length + padding);
    if (padding > 0) this.#unpad(packet + length, padding);
    const total = TRANSPORT.overhead + length + padding;
    this.#sealed.append(at - end + total, peer.endpoints, peer.endpoint, ecn);
    peer.row[peer.at + TRAFFIC.sent]! += total;
    this.#noteSent(peer, session, counter, length > 0, now);
    return true;
  }

  /** Writes a relay frame's header for a peer behind a relay. @returns its length */
  #frame(peer: PeerState): number {
    const relayPeer = relayPeerOf(peer);
    if (relayPeer === 0) return 0;
    const { memory, end } = this.#sealed;
    memory.view.setInt32(end, MAGIC.relay, true);
    memory.view.setUint32(end + RELAY_FRAME.peer, relayPeer, true);
    return RELAY_FRAME.payload;
  }

  #noteSent(peer: PeerState, session: Session, counter: number, hasData: boolean, now: number): void {
    if (noteSent(peer.row, peer.at, hasData, now)) this.#context.requestWakeUp(peer.id);
    if (wantsRekeySending(session.keypair, counter, now)) this.#ask(peer, now);
  }

  /** The next segment begins right behind a packet: its first bytes are saved while padding takes their place. */
  readonly #aside = new Uint8Array(16);

  #pad(at: number, padding: number): void {
    const { bytes } = this.#arena;
    for (let i = 0; i < padding; i++) {
      this.#aside[i] = bytes[at + i]!;
      bytes[at + i] = 0;
    }
  }

  #unpad(at: number, padding: number): void {
    const { bytes } = this.#arena;
    for (let i = 0; i < padding; i++) bytes[at + i] = this.#aside[i]!;
  }
}

const EMPTY = new Uint8Array(0);

/** The longest headers of a segment: IPv6, and TCP with all options. */
const MAX_HEADERS = 40 + 60;

/** The traffic class (IPv4: type of service). The ECN field is in its two low bits. */
function trafficClass(view: DataView, packet: number): number {
  return ipVersion(view, packet) === 4
    ? view.getUint8(packet + IPV4.typeOfService)
    : (view.getUint16(packet) >> 4) & 0xff;
}
