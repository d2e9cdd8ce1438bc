import { IPV4, IPV6, ipVersion, wholePacket } from '../ip/packet.js';
import type { PrefixLookup } from '../ip/prefix-table.js';
import type { Aead } from '../linux/aead.js';
import { ERRNO } from '../linux/errno.js';
import { errno, libc } from '../linux/libc.js';
import { allocate, type Memory } from '../linux/memory.js';
import { MAX_DATAGRAM, SendBatch } from '../linux/udp-batch.js';
import { askForHandshake, noteSent } from '../wireguard/activity.js';
import { ecnEncapsulate } from '../wireguard/ecn.js';
import { maySend, wantsRekeySending } from '../wireguard/keypair.js';
import { MESSAGE_TYPE, paddingOf, TRANSPORT, writeCounter } from '../wireguard/messages.js';
import { hasEndpoint, type PeerState } from './peers.js';
import { TRAFFIC } from './rows.js';
import type { WorkerContext } from './worker-context.js';

/** How many datagrams go with one system call. */
const BATCH = 64;

/** Room for a batch of usual packets, or for a few of the largest. */
const ROOM = 4 * MAX_DATAGRAM;

/** What a packet needs in the room at most: header, padding and tag around it. */
const LARGEST = MAX_DATAGRAM + TRANSPORT.overhead + 16;

/** How many packets may wait for a handshake, and how many bytes of all peers together. */
const WAITING_PER_PEER = 32;
const WAITING_BYTES = 4 << 20;

/** Errors that tell of an address of ours that is gone, as kernels of different age report it. */
const SOURCE_GONE: ReadonlySet<number> = new Set([ERRNO.EINVAL, ERRNO.EADDRNOTAVAIL, ERRNO.ENETUNREACH]);

/**
 * The way out: packets are read from the TUN device, find their peer by destination, are sealed where they lie,
 * and leave as a batch of datagrams. Packets without a session wait in their peer's queue.
 */
export class Outbound {
  readonly #context: WorkerContext;
  readonly #aead: Aead;
  readonly #room: Memory = allocate(ROOM);
  readonly #batch = new SendBatch(BATCH);
  /** Room for one packet from a queue, and for keepalives. */
  readonly #aside: Memory = allocate(LARGEST);
  readonly #asideBatch = new SendBatch(1);
  #allowedIps: PrefixLookup | undefined;
  #waitingBytes = 0;

  constructor(context: WorkerContext, aead: Aead) {
    this.#context = context;
    this.#aead = aead;
  }

  set allowedIps(lookup: PrefixLookup) {
    this.#allowedIps = lookup;
  }

  /** Whether datagrams wait for the socket to have room. */
  get blocked(): boolean {
    return this.#batch.pending > 0;
  }

  /** Takes what the TUN device has, up to a batch, and sends it. */
  fromTun(now: number): void {
    const { bytes, view, address } = this.#room;
    const { tunFd, drops, up } = this.#context;
    for (let at = 0; !this.#batch.full && at + LARGEST <= ROOM; ) {
      const packet = at + TRANSPORT.payload;
      const length = libc.read(tunFd, address + packet, MAX_DATAGRAM);
      if (length < 0) {
        this.#context.deviceFailed(errno());
        break;
      }
      if (!up) {
        drops.count('down');
        continue;
      }
      const version = wholePacket(view, packet, length);
      if (version === 0) {
        drops.count('bad-inner-packet');
        continue;
      }
      const peer = this.#peerFor(bytes, packet, version);
      if (peer === undefined) drops.count('no-peer');
      else if (!hasEndpoint(peer)) drops.count('no-endpoint');
      else if (this.#seal(peer, this.#room, at, length, this.#batch, now)) {
        at += (TRANSPORT.overhead + length + 31) & ~15;
      } else this.#wait(peer, bytes.slice(packet, packet + length), now);
    }
    this.flush();
  }

  /** Sends what waits for the socket. */
  flush(): void {
    this.#send(this.#batch, true);
  }

  /** Sends what waits for a session of a peer; with `orKeepalive` an empty packet if nothing does. */
  release(peer: PeerState, orKeepalive: boolean, now: number): void {
    if (peer.waiting.length === 0) {
      if (orKeepalive && !this.#sendAside(peer, EMPTY, now)) this.#ask(peer, now);
      return;
    }
    while (peer.waiting.length > 0 && this.#sendAside(peer, peer.waiting[0]!, now)) {
      this.#waitingBytes -= peer.waiting.shift()!.length;
    }
  }

  /** The handshake was given up: drops what waits for it. */
  discard(peer: PeerState): void {
    this.#context.drops.count('no-session', peer.waiting.length);
    for (const packet of peer.waiting) this.#waitingBytes -= packet.length;
    peer.waiting.length = 0;
  }

  #peerFor(bytes: Uint8Array, packet: number, version: 4 | 6): PeerState | undefined {
    const lookup = this.#allowedIps;
    if (lookup === undefined) return undefined;
    const id =
      version === 4
        ? lookup.find4(bytes, packet + IPV4.destination)
        : lookup.find6(bytes, packet + IPV6.destination);
    return id < 0 ? undefined : this.#context.peers.get(id);
  }

  #wait(peer: PeerState, packet: Uint8Array, now: number): void {
    if (peer.waiting.length >= WAITING_PER_PEER || this.#waitingBytes + packet.length > WAITING_BYTES) {
      this.#context.drops.count('queue-full');
    } else {
      peer.waiting.push(packet);
      this.#waitingBytes += packet.length;
    }
    this.#ask(peer, now);
  }

  #ask(peer: PeerState, now: number): void {
    if (askForHandshake(peer.row, peer.at, now)) this.#context.wantLook(peer.id);
  }

  /**
   * Seals a packet in place, [W] 5.4.6, and adds it to a batch.
   *
   * @param at where its message begins in `memory`: the packet stands `TRANSPORT.payload` bytes behind
   * @returns false when there is no session to do it under
   */
  #seal(peer: PeerState, memory: Memory, at: number, length: number, batch: SendBatch, now: number): boolean {
    const session = peer.current;
    if (session === undefined || !maySend(session.keypair, session.counter, now)) return false;
    const { bytes, view, address } = memory;
    const payload = at + TRANSPORT.payload;
    const padding = paddingOf(length, this.#context.mtu);
    bytes.fill(0, payload + length, payload + length + padding);
    const counter = session.counter++;
    view.setUint32(at, MESSAGE_TYPE.transport, true);
    view.setUint32(at + TRANSPORT.receiver, session.keypair.remoteIndex, true);
    writeCounter(view, at + TRANSPORT.counter, counter);
    const ecn = length === 0 ? 0 : ecnEncapsulate(trafficClass(view, payload));
    this.#aead.seal(session.keys.sendingKey, counter, address + payload, address + payload, length + padding);
    const total = TRANSPORT.overhead + length + padding;
    if (ecn === 0) batch.addTo(address + at, total, peer.endpoints, peer.endpoint);
    else batch.addWithTrafficClass(address + at, total, peer.endpoints, peer.endpoint, ecn);
    peer.row[peer.at + TRAFFIC.sent]! += total;
    if (noteSent(peer.row, peer.at, length > 0, now)) this.#context.wantLook(peer.id);
    if (wantsRekeySending(session.keypair, counter, now)) this.#ask(peer, now);
    return true;
  }

  /** Sends one packet at once, or drops it when the socket is full. @returns false when there is no session */
  #sendAside(peer: PeerState, packet: Uint8Array, now: number): boolean {
    if (!hasEndpoint(peer)) return false;
    this.#aside.bytes.set(packet, TRANSPORT.payload);
    if (!this.#seal(peer, this.#aside, 0, packet.length, this.#asideBatch, now)) return false;
    this.#send(this.#asideBatch, false);
    return true;
  }

  /** @param mayWait whether what finds the socket full stays in the batch */
  #send(batch: SendBatch, mayWait: boolean): void {
    let again = true;
    while (batch.pending > 0) {
      const before = batch.pending;
      const number = batch.flush(this.#context.udpFd);
      if (number === 0 || (number === ERRNO.EAGAIN && mayWait)) return;
      if (number === ERRNO.EINTR) continue;
      if (batch.pending !== before) again = true;
      if (again && SOURCE_GONE.has(number)) {
        again = false;
        batch.unpinSource();
        continue;
      }
      again = true;
      this.#context.drops.count(
        number === ERRNO.EMSGSIZE ? 'too-big' : number === ERRNO.EAGAIN ? 'congested' : 'unreachable',
      );
      batch.skip();
    }
  }
}

const EMPTY = new Uint8Array(0);

/** The traffic class of IPv6 and the type of service of IPv4, where the ECN field is in the low two bits. */
function trafficClass(view: DataView, packet: number): number {
  return ipVersion(view, packet) === 4
    ? view.getUint8(packet + IPV4.typeOfService)
    : (view.getUint16(packet) >> 4) & 0xff;
}
