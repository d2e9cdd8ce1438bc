import { ERRNO } from '../linux/ffi/errno.js';
import type { Waker } from '../linux/threads/poll.js';
import type { SharedRing } from '../linux/threads/shared-ring.js';
import type { Offloads } from '../linux/tun/tun.js';
import type { ReceiveBatch } from '../packets/udp-batch.js';
import type { DropCounters } from '../wireguard/drops.js';
import type { PeerNumber } from '../wireguard/numbers.js';
import type { TunnelDrop } from './drops.js';
import { REPORT, REPORT_RECORD, REPORTS_DATAGRAM, REPORTS_SIDE_CHANNEL, WAKE_UP_RECORD } from './messages.js';
import type { PeerState, Peers } from './peers.js';
import type { Rows } from './rows.js';

/** What both directions of a worker share: descriptors, tables, and the rings to the control plane. */
export class WorkerContext {
  readonly tunFd: number;
  udpFd = -1;
  mtu: number;
  up = false;
  deviceGone = false;
  readonly offloads: Offloads;
  /** Whether an authentic packet moves its peer's endpoint. */
  readonly followsPeers: boolean;
  /** Whether there is a side channel: relay frames and probes. */
  readonly sideChannel: boolean;
  readonly peers: Peers;
  readonly drops: DropCounters<TunnelDrop>;
  readonly #rows: Rows;
  readonly #reports: SharedRing;
  readonly #wakeUps: SharedRing;
  readonly #waker: Waker;
  #wake = false;

  constructor(
    device: {
      readonly tunFd: number;
      readonly mtu: number;
      readonly offloads: Offloads;
      readonly followsPeers?: boolean;
      readonly sideChannel?: boolean;
    },
    tables: { readonly peers: Peers; readonly rows: Rows; readonly drops: DropCounters<TunnelDrop> },
    upward: { readonly reports: SharedRing; readonly wakeUps: SharedRing; readonly waker: Waker },
  ) {
    this.tunFd = device.tunFd;
    this.offloads = device.offloads;
    this.mtu = device.mtu;
    this.followsPeers = device.followsPeers ?? true;
    this.sideChannel = device.sideChannel ?? false;
    this.peers = tables.peers;
    this.drops = tables.drops;
    this.#rows = tables.rows;
    this.#reports = upward.reports;
    this.#wakeUps = upward.wakeUps;
    this.#waker = upward.waker;
  }

  /** Asks the control plane to read a peer's row. */
  requestWakeUp(peer: PeerNumber): void {
    if (!this.#rows.requestWakeUp(peer)) return;
    const at = this.#wakeUps.claim();
    if (at < 0) {
      // The ring is full. The peer's timers will make the control plane read its row later.
      this.#rows.takeWakeUp(peer);
      return;
    }
    this.#wakeUps.view.setUint32(at + WAKE_UP_RECORD.peer, peer, true);
    this.#wakeUps.commit();
    this.#wake = true;
  }

  /**
   * Passes a datagram to the control plane.
   *
   * @param from where the datagram begins in the batch's memory
   * @param relayPeer the sender's id at the relay that the slot came from; 0 if there is no relay
   *
   * @returns false when too many datagrams are unread: dropping is the cheapest answer to a flood
   */
  report(
    report: number,
    batch: ReceiveBatch,
    slot: number,
    from: number,
    size: number,
    relayPeer: number,
  ): boolean {
    const ring = this.#reports;
    if (ring.pending >= (report === REPORT.sideChannel ? REPORTS_SIDE_CHANNEL : REPORTS_DATAGRAM))
      return false;
    const at = ring.claim();
    if (at < 0) return false;
    const length = Math.min(size, REPORT_RECORD.size - REPORT_RECORD.datagram);
    ring.view.setUint32(at + REPORT_RECORD.report, report, true);
    ring.view.setUint32(at + REPORT_RECORD.length, length, true);
    batch.writeEndpoint(slot, ring, at + REPORT_RECORD.endpoint, relayPeer);
    for (let i = 0; i < length; i++) {
      ring.bytes[at + REPORT_RECORD.datagram + i] = batch.memory.bytes[from + i]!;
    }
    ring.commit();
    this.#wake = true;
    return true;
  }

  /** Reports a peer's new endpoint, from the datagram in a slot. @returns whether there was room */
  reportPlace(peer: PeerState, batch: ReceiveBatch, slot: number, relayPeer: number): boolean {
    const ring = this.#reports;
    const at = ring.claim();
    if (at < 0) return false;
    ring.view.setUint32(at + REPORT_RECORD.report, REPORT.roaming, true);
    ring.view.setUint32(at + REPORT_RECORD.peer, peer.id, true);
    ring.view.setUint32(at + REPORT_RECORD.length, 0, true);
    ring.view.setUint32(at + REPORT_RECORD.settings, peer.settings, true);
    batch.writeEndpoint(slot, ring, at + REPORT_RECORD.endpoint, relayPeer);
    ring.commit();
    this.#wake = true;
    return true;
  }

  /** Wakes the control plane if there is something for it, once for each turn of the loop. */
  wakeControlPlane(): void {
    if (!this.#wake) return;
    this.#wake = false;
    this.#waker.wake();
  }

  /** A call on the TUN device failed. */
  deviceFailed(number: number): void {
    if (number === ERRNO.EBADFD) this.deviceGone = true;
  }
}
