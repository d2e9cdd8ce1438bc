import { IPV4, IPV6, ipVersion } from '../ip/packet.js';
import type { PrefixLookup } from '../ip/prefix-table.js';
import type { Aead } from '../linux/aead.js';
import { ERRNO } from '../linux/errno.js';
import { errno, libc } from '../linux/libc.js';
import type { Memory } from '../linux/memory.js';
import { ReceiveBatch } from '../linux/udp-batch.js';
import { askForHandshake, noteConfirmed, noteReceived } from '../wireguard/activity.js';
import { COUNTER_LIMIT } from '../wireguard/constants.js';
import { ECN, ECN_DROP, ecnDecapsulate } from '../wireguard/ecn.js';
import { MESSAGE_TYPE, messageType, readCounter, TRANSPORT } from '../wireguard/messages.js';
import { replayAccept, replayWouldRefuse } from '../wireguard/replay.js';
import { REPORT } from './messages.js';
import type { PeerState, Session } from './peers.js';
import { TRAFFIC } from './rows.js';
import type { TunnelDrop } from './shared-drops.js';
import type { WorkerContext } from './worker-context.js';

const BATCH = 64;

/**
 * The way in: a batch of datagrams is received; transport messages find their session by receiver index, are opened
 * where they lie, and what is in them is written to the TUN device. Everything else is the control plane's.
 */
export class Inbound {
  readonly #context: WorkerContext;
  readonly #aead: Aead;
  readonly #batch = new ReceiveBatch(BATCH);
  #allowedIps: PrefixLookup | undefined;

  constructor(context: WorkerContext, aead: Aead) {
    this.#context = context;
    this.#aead = aead;
  }

  set allowedIps(lookup: PrefixLookup) {
    this.#allowedIps = lookup;
  }

  /** Takes what the socket has, up to a batch. */
  fromUdp(now: number): void {
    const batch = this.#batch;
    const { drops, up } = this.#context;
    const count = batch.receive(this.#context.udpFd);
    for (let slot = 0; slot < count; slot++) {
      const reason = up
        ? this.#handle(slot, batch.memory, batch.offset(slot), batch.length(slot), now)
        : 'down';
      if (reason !== undefined) drops.count(reason);
    }
  }

  /** @returns why a datagram is dropped; undefined when it is not */
  #handle(slot: number, { view }: Memory, at: number, length: number, now: number): TunnelDrop | undefined {
    const type = messageType(view, at, length);
    if (type === MESSAGE_TYPE.transport) return this.#open(slot, at, length, now);
    if (type === 0) return 'malformed';
    return this.#context.report(REPORT.datagram, 0, this.#batch, slot) ? undefined : 'busy';
  }

  #open(slot: number, at: number, length: number, now: number): TunnelDrop | undefined {
    const { view, address } = this.#batch.memory;
    const session = this.#context.peers.session(view.getUint32(at + TRANSPORT.receiver, true));
    if (session === undefined) return 'unknown-index';
    const { keypair, window, peer } = session;
    const counter = readCounter(view, at + TRANSPORT.counter);
    if (counter >= COUNTER_LIMIT) return 'counter-limit';
    if (now >= keypair.rejectAt) return 'expired-key';
    if (replayWouldRefuse(window, 0, counter)) return 'replayed';
    const payload = at + TRANSPORT.payload;
    const plain = length - TRANSPORT.overhead;
    if (!this.#aead.open(session.keys.receivingKey, counter, address + payload, address + payload, plain)) {
      return 'bad-tag';
    }
    if (!replayAccept(window, 0, counter)) return 'replayed';
    // Authentic from here on: it counts for roaming and the timers, whatever is inside.
    this.#noteAuthentic(session, slot, length, plain > 0, now);
    return plain === 0 ? undefined : this.#deliver(peer, slot, payload, plain);
  }

  #noteAuthentic(session: Session, slot: number, length: number, hasData: boolean, now: number): void {
    const { peer, keypair } = session;
    const { row, at } = peer;
    const context = this.#context;
    const roamed = !this.#batch.sentBy(slot, peer.endpoints, peer.endpoint);
    // Our own address too: answers leave from the one that the peer writes to now.
    this.#batch.writeEndpoint(slot, peer.endpoints, peer.endpoint);
    if (roamed) context.report(REPORT.roaming, peer.id, this.#batch, slot);
    row[at + TRAFFIC.received]! += length;
    if (!session.confirmed) {
      session.confirmed = true;
      noteConfirmed(row, at, keypair.localIndex);
      context.wantLook(peer.id);
    }
    if (noteReceived(row, at, hasData, now)) context.wantLook(peer.id);
    if (session === peer.current && now >= keypair.rekeyReceivingAt && askForHandshake(row, at, now)) {
      context.wantLook(peer.id);
    }
  }

  /** Checks what was inside, and hands it to the kernel. */
  #deliver(peer: PeerState, slot: number, packet: number, length: number): TunnelDrop | undefined {
    const { bytes, view, address } = this.#batch.memory;
    const whole = innerLength(view, packet, length);
    if (whole === 0) return 'bad-inner-packet';
    const version = ipVersion(view, packet);
    const lookup = this.#allowedIps;
    const owner =
      version === 4 ? lookup?.find4(bytes, packet + IPV4.source) : lookup?.find6(bytes, packet + IPV6.source);
    if (owner !== peer.id) return 'not-allowed-source';
    const outer = this.#batch.trafficClass(slot) & ECN.mask;
    if (outer !== 0 && !applyEcn(view, packet, version, outer)) return 'congestion';
    if (libc.write(this.#context.tunFd, address + packet, whole) >= 0) return undefined;
    const number = errno();
    this.#context.deviceFailed(number);
    return number === ERRNO.EIO ? 'down' : undefined;
  }
}

/** How long an inner packet says it is, what follows being padding; 0 when it is none, or lies. */
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
  // The field's two bits are the low ones of byte 1 in IPv4, and bits 5 and 4 of byte 1 in IPv6.
  const word = view.getUint16(packet);
  const shift = version === 4 ? 0 : 4;
  const inner = (word >> shift) & ECN.mask;
  const ecn = ecnDecapsulate(inner, outer);
  if (ecn === ECN_DROP) return false;
  if (ecn === inner) return true;
  const changed = (word & ~(ECN.mask << shift)) | (ecn << shift);
  view.setUint16(packet, changed);
  if (version === 4) {
    // RFC 1624 §3, equation 3: HC' = ~(~HC + ~m + m').
    const sum = (~view.getUint16(packet + IPV4.checksum) & 0xffff) + (~word & 0xffff) + changed;
    const folded = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(packet + IPV4.checksum, ~((folded & 0xffff) + (folded >>> 16)) & 0xffff);
  }
  return true;
}
