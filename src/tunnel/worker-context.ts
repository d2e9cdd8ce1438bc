import { ERRNO } from '../linux/ffi/errno.js';
import type { Waker } from '../linux/threads/poll.js';
import type { SharedRing } from '../linux/threads/shared-ring.js';
import type { Offloads } from '../linux/tun/tun.js';
import type { ReceiveBatch } from '../packets/udp-batch.js';
import type { PeerNumber } from '../wireguard/numbers.js';
import { REPORT, REPORT_RECORD, REPORTS_DATAGRAM, REPORTS_SIDE_CHANNEL, WAKE_UP_RECORD } from './messages.js';
import type { PeerState, Peers } from './peers.js';
import type { Rows } from './rows.js';
import type { SharedDrops } from './shared-drops.js';

/** What both directions of a worker share: descriptors, tables, and the way to the control plane. */
export class WorkerContext {
  readonly tunFd: number;
  udpFd = -1;
  mtu: number;
  up = false;
  deviceGone = false;
  readonly offloads: Offloads;
  /** Whether an authentic packet says where its sender is. */
  readonly followsPeers: boolean;
  /** Whether there is a side channel: relay frames, probes. */
  readonly sideChannel: boolean;
  readonly peers: Peers;
  readonly drops: SharedDrops;
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
    tables: { readonly peers: Peers; readonly rows: Rows; readonly drops: SharedDrops },
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
      // More peers than the ring has room for: its timers will have the control plane read them by and by.
      this.#rows.takeWakeUp(peer);
      return;
    }
    this.#wakeUps.view.setUint32(at + WAKE_UP_RECORD.peer, peer, true);
    this.#wakeUps.commit();
    this.#wake = true;
  }

  /**
   * Hands the control plane a datagram.
   *
   * @param from where the datagram begins in the batch's memory, in its slot, and its size
   * @param relayPeer who it is from, by the relay that the slot came from; 0: there is no relay
   *
   * @returns false when there are too many that it has not read: the cheapest answer to a flood
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

  /** Tells the control plane where a peer is now: where a datagram came from, and to. @returns whether there is room */
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

  /** Wakes the control plane if there is something for it: once for all that a turn of the loop had. */
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
