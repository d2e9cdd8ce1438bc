import { ERRNO } from '../linux/errno.js';
import { errno, libc } from '../linux/libc.js';
import { allocate } from '../linux/memory.js';
import { POLL, Poller } from '../linux/poll.js';
import { SendBatch } from '../linux/send-batch.js';
import { MAX_DATAGRAM, ReceiveBatch } from '../linux/udp-batch.js';
import { KIND, type Kind, type PacketLog } from './packet-log.js';
import { COUNT, dropCounter, type SharedState } from './shared.js';
import type { Side } from './side.js';
import { checkDatagram, PACKET } from './wire.js';

/** How many packets go with one system call. */
const BATCH = 64;

/** Room for a batch of usual packets, or for a few of the largest. */
const ROOM = 4 * MAX_DATAGRAM;

/** How long the loop sleeps at most, milliseconds: how late `Side.tick` may be. */
const TICK = 500;

const TUN = 0;
const UDP = 1;
const WAKE = 2;

const DROP = {
  malformed: dropCounter('malformed'),
  tooBig: dropCounter('too-big'),
  congested: dropCounter('congested'),
  unreachable: dropCounter('unreachable'),
  deviceDown: dropCounter('device-down'),
};

/** Why a tunnel ended. */
export type TunnelEnd = 'stopped' | 'device-gone';

export interface TunnelFds {
  readonly tun: number;
  readonly udp: number;
  /** An eventfd that is written to after `SharedState.stop`. */
  readonly wake: number;
}

/**
 * The tunnel of the post: what the kernel wants to send comes out of the TUN device and goes into UDP
 * datagrams, and what comes in UDP datagrams goes into the TUN device. The post has a thread for each
 * direction that waits in read(2); here one thread waits for both in poll(2) and then moves what is there,
 * many packets with one system call where the kernel allows it.
 *
 * It runs in a worker of its own, so that nothing the main thread does can delay a packet.
 */
export class Tunnel {
  readonly #fds: TunnelFds;
  readonly #side: Side;
  readonly #state: SharedState;
  readonly #counters: Float64Array;
  readonly #log: PacketLog | undefined;
  readonly #poller: Poller;
  readonly #room = allocate(ROOM);
  readonly #outgoing = new SendBatch(BATCH);
  readonly #incoming = new ReceiveBatch(BATCH);
  #deviceGone = false;

  /** @param log where each packet is noted; without it none is */
  constructor(fds: TunnelFds, side: Side, state: SharedState, log?: PacketLog) {
    this.#fds = fds;
    this.#side = side;
    this.#state = state;
    this.#counters = state.counters;
    this.#log = log;
    this.#poller = new Poller([fds.tun, fds.udp, fds.wake]);
  }

  /** Moves packets until it is told to stop, or the device is removed. */
  run(): TunnelEnd {
    for (;;) {
      this.#poller.wait(TICK);
      if (this.#poller.events(WAKE) !== 0 && this.#state.stopping) return 'stopped';
      const now = performance.now();
      if (this.#poller.events(UDP) !== 0) this.#fromUdpToTun(now);
      if (this.#poller.events(TUN) !== 0 && this.#outgoing.pending === 0) this.#fromTunToUdp(now);
      if (this.#outgoing.pending > 0) this.#send();
      if (this.#deviceGone) return 'device-gone';
      this.#side.tick(now);
    }
  }

  /** The way out. One read(2) gives one packet, with its packet information in front. */
  #fromTunToUdp(now: number): void {
    const { bytes, view, address } = this.#room;
    for (let at = 0; !this.#outgoing.full && at + MAX_DATAGRAM <= ROOM; ) {
      const length = libc.read(this.#fds.tun, address + at, MAX_DATAGRAM);
      if (length < 0) {
        this.#deviceFailed(errno());
        break;
      }
      const version = checkDatagram(view, at, length);
      if (version === 0) {
        this.#counters[DROP.malformed]!++;
        continue;
      }
      const endpoint = this.#side.route(bytes, at + PACKET, version, now);
      if (endpoint < 0) {
        this.#counters[this.#side.noRoute]!++;
        continue;
      }
      // The packet stays where it is until it is sent; the next one is read behind it.
      if (this.#side.connected) this.#outgoing.add(address + at, length);
      else this.#outgoing.addTo(address + at, length, this.#side.endpoints, endpoint);
      this.#count(COUNT.packetsOut, length);
      this.#note(KIND.out, bytes, at, length, this.#side.endpoints.bytes, endpoint);
      at += length;
    }
  }

  /** Sends what was read. When the socket is full, reading from the device waits until it has room. */
  #send(): void {
    let again = true;
    for (;;) {
      const before = this.#outgoing.pending;
      const number = this.#outgoing.flush(this.#fds.udp);
      const blocked = number === ERRNO.EAGAIN;
      this.#poller.watch(TUN, blocked ? 0 : POLL.in);
      this.#poller.watch(UDP, blocked ? POLL.in | POLL.out : POLL.in);
      if (number === 0 || blocked) return;
      if (number === ERRNO.EINTR) continue;
      this.#counters[COUNT.errors + number]!++;
      this.#side.failed(number);
      if (this.#outgoing.pending !== before) again = true;
      if (again) {
        // Most errors are about an earlier datagram: an ICMP message came back. And an address of ours that
        // is gone must not keep the answer from leaving by another.
        again = false;
        this.#outgoing.unpinSource();
      } else {
        again = true;
        this.#counters[sendDrop(number)]!++;
        this.#counters[COUNT.packetsOut]!--;
        this.#counters[COUNT.bytesOut]! -= this.#outgoing.skip() - PACKET;
      }
    }
  }

  /** The way in. One recvmmsg(2) gives many datagrams; each is checked, and written to the device. */
  #fromUdpToTun(now: number): void {
    const batch = this.#incoming;
    const { bytes, view, address } = batch.memory;
    const count = batch.receive(this.#fds.udp);
    if (count < 0) this.#receiveFailed(-count);
    for (let slot = 0; slot < count; slot++) {
      const at = batch.offset(slot);
      const length = batch.length(slot);
      const version = checkDatagram(view, at, length);
      const refusal = version === 0 ? DROP.malformed : this.#side.accept(batch, slot, version, now);
      if (refusal !== 0) {
        this.#counters[refusal]!++;
        continue;
      }
      if (libc.write(this.#fds.tun, address + at, length) < 0) {
        this.#deviceFailed(errno());
        continue;
      }
      this.#count(COUNT.packetsIn, length);
      this.#note(KIND.in, bytes, at, length, batch.senderBytes, batch.senderOffset(slot));
    }
  }

  #receiveFailed(number: number): void {
    if (number === ERRNO.EAGAIN || number === ERRNO.EINTR) return;
    this.#counters[COUNT.errors + number]!++;
    this.#side.failed(number);
  }

  #deviceFailed(number: number): void {
    if (number === ERRNO.EAGAIN || number === ERRNO.EINTR) return;
    if (number === ERRNO.EBADFD) this.#deviceGone = true;
    else if (number === ERRNO.EIO) this.#counters[DROP.deviceDown]!++;
    else this.#counters[number === ERRNO.EINVAL ? DROP.malformed : DROP.congested]!++;
  }

  #count(packets: number, length: number): void {
    this.#counters[packets]!++;
    this.#counters[packets + 1]! += length - PACKET; // bytes are counted next to packets
  }

  #note(kind: Kind, bytes: Uint8Array, at: number, length: number, outer: Uint8Array, offset: number): void {
    this.#log?.write(kind, bytes, at + PACKET, length - PACKET, outer, offset);
  }
}

/** Why a datagram that the kernel refused was dropped. */
function sendDrop(number: number): number {
  if (number === ERRNO.EMSGSIZE) return DROP.tooBig;
  return number === ERRNO.ENOBUFS ? DROP.congested : DROP.unreachable;
}
