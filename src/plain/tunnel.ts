import type { Sum } from '../ip/checksum.js';
import type { Copy } from '../ip/copy-wasm.js';
import { IPV4, IPV6, PROTOCOL, wholePacket } from '../ip/packet.js';
import { ERRNO } from '../linux/ffi/errno.js';
import type { Memory } from '../linux/ffi/memory.js';
import { AF, SOCKADDR_IN, SOCKADDR_IN6 } from '../linux/net/socket-address.js';
import { dropQueuedErrors } from '../linux/net/udp.js';
import { POLL, Poller } from '../linux/threads/poll.js';
import type { Offloads } from '../linux/tun/tun.js';
import { sendDrop } from '../packets/run-sender.js';
import { SendBuffer } from '../packets/send-buffer.js';
import { TunReader, TunWriter } from '../packets/tun-packets.js';
import { ENDPOINT, ReceiveBatch } from '../packets/udp-batch.js';
import { KIND, type Kind, type PacketLog } from './packet-log.js';
import { COUNT, dropCounter, type SharedState } from './shared.js';
import type { Side } from './side.js';
import { checkDatagram, PACKET, writePacketInformation } from './wire.js';

/** How many datagrams, or bundles of datagrams, one system call receives at most. */
const BATCH = 32;

/** The layout of the tunnel's memory: a packet that was read, datagrams to send, received datagrams. */
const READ = 64;
const SEND = 128 * 1024;
const RECEIVE = SEND + SendBuffer.size;
/** Bytes of memory that a tunnel needs. */
export const TUNNEL_MEMORY = RECEIVE + ReceiveBatch.size(BATCH);

/** The longest sleep of the loop, milliseconds: `Side.tick` may be this late. */
const TICK = 500;

const TUN = 0;
const UDP = 1;
const WAKE = 2;

const DROP = {
  malformed: dropCounter('malformed'),
  'too-big': dropCounter('too-big'),
  congested: dropCounter('congested'),
  unreachable: dropCounter('unreachable'),
  deviceDown: dropCounter('device-down'),
  loop: dropCounter('loop'),
};

/** Why a tunnel ended. */
export type TunnelEnd = 'stopped' | 'device-gone';

export interface TunnelFds {
  readonly tun: number;
  readonly udp: number;
  /** An eventfd that is written to after `SharedState.stop`. */
  readonly wake: number;
}

/** Memory for packets, how they are summed and copied, and the offloads to use. */
export interface TunnelMeans {
  /** `TUNNEL_MEMORY` bytes. */
  readonly memory: Memory;
  readonly sum: Sum;
  readonly copy: Copy;
  readonly device: Offloads;
  /** Whether the socket takes runs of datagrams: `canSendSegments`. */
  readonly sendsRuns: boolean;
}

/**
 * The tunnel of the post: what the kernel wants to send comes out of the TUN device and goes into UDP
 * datagrams, and what comes in UDP datagrams goes into the TUN device. The post has a thread for each
 * direction that waits in read(2); here one thread waits for both in poll(2) and then moves what is there,
 * many packets with one system call where the kernel allows it. `TunReader`, `TunWriter` and `SendBuffer` hide that:
 * they give and take single packets and datagrams.
 *
 * It runs in its own worker, so that the main thread cannot delay a packet.
 */
export class Tunnel {
  readonly #fds: TunnelFds;
  readonly #side: Side;
  readonly #state: SharedState;
  readonly #counters: Float64Array;
  readonly #log: PacketLog | undefined;
  readonly #poller: Poller;
  readonly #memory: Memory;
  readonly #copy: Copy;
  readonly #reader: TunReader;
  readonly #writer: TunWriter;
  readonly #outgoing: SendBuffer;
  readonly #incoming: ReceiveBatch;
  #deviceGone = false;

  /** @param log records each packet, if given */
  constructor(fds: TunnelFds, side: Side, state: SharedState, means: TunnelMeans, log?: PacketLog) {
    const { memory, sum, copy, device, sendsRuns } = means;
    this.#fds = fds;
    this.#side = side;
    this.#state = state;
    this.#counters = state.counters;
    this.#log = log;
    this.#poller = new Poller([fds.tun, fds.udp, fds.wake]);
    this.#memory = memory;
    this.#copy = copy;
    this.#reader = new TunReader(fds.tun, device, memory, READ, sum);
    this.#writer = new TunWriter(fds.tun, device, memory, sum);
    this.#outgoing = new SendBuffer(memory, SEND, sendsRuns, (number, datagrams, bytes) =>
      this.#refused(number, datagrams, bytes),
    );
    this.#incoming = new ReceiveBatch(BATCH, memory, RECEIVE);
  }

  /** Moves packets until it is stopped or the device is removed. */
  run(): TunnelEnd {
    for (;;) {
      const end = this.turn();
      if (end !== undefined) return end;
    }
  }

  /** Waits until there is something to do, and does it. @returns why the tunnel ends, if it does */
  turn(): TunnelEnd | undefined {
    this.#poller.wait(TICK);
    if (this.#poller.events(WAKE) !== 0 && this.#state.stopping) return 'stopped';
    const now = performance.now();
    const udp = this.#poller.events(UDP);
    if (udp !== 0) this.#fromUdpToTun(now);
    if ((udp & POLL.error) !== 0) dropQueuedErrors(this.#fds.udp);
    if (this.#poller.events(TUN) !== 0 && this.#outgoing.pending === 0) this.#fromTunToUdp(now);
    if (this.#outgoing.pending > 0) this.#send();
    if (this.#deviceGone) return 'device-gone';
    this.#side.tick(now);
    return undefined;
  }

  /** The way out. The post reads one packet and sends it. Here one read(2) may return many. */
  #fromTunToUdp(now: number): void {
    while (!this.#outgoing.enough) {
      const count = this.#reader.read();
      if (count < 0) {
        this.#deviceFailed(-count, 1);
        break;
      }
      if (count === 0) this.#counters[DROP.malformed]!++;
      while (this.#reader.next()) this.#wrap(this.#reader.packet, this.#reader.length, now);
    }
  }

  /** Wraps a packet in a datagram for its receiver: packet information, and then the packet as it is. */
  #wrap(packet: number, length: number, now: number): void {
    const { bytes, view } = this.#memory;
    const version = wholePacket(view, packet, length);
    if (version === 0) {
      this.#counters[DROP.malformed]!++;
      return;
    }
    const endpoint = this.#side.route(bytes, packet, version, now);
    if (endpoint < 0) {
      this.#counters[this.#side.noRoute]!++;
      return;
    }
    if (isOwnDatagram(bytes, packet, version, this.#side.endpoints, endpoint)) {
      this.#counters[DROP.loop]!++;
      return;
    }
    const size = PACKET + length;
    if (!this.#outgoing.fits(size, 1)) this.#send();
    if (!this.#outgoing.fits(size, 1)) {
      this.#counters[DROP.congested]!++;
      return;
    }
    const at = this.#outgoing.end;
    writePacketInformation(view, at, version);
    this.#copy(at + PACKET, packet, length);
    this.#outgoing.append(size, this.#side.endpoints, endpoint, 0);
    this.#count(COUNT.packetsOut, 1, length);
    this.#note(KIND.out, packet, length, this.#side.endpoints.bytes, endpoint);
  }

  /** Sends the datagrams. When the socket is full, the device is not read until it has room. */
  #send(): void {
    const full = this.#outgoing.flush(this.#fds.udp);
    this.#poller.watch(TUN, full ? 0 : POLL.in);
    this.#poller.watch(UDP, full ? POLL.in | POLL.out : POLL.in);
  }

  /** The kernel refused datagrams: see `OnRefused`. */
  #refused(number: number, datagrams: number, bytes: number): void {
    this.#counters[COUNT.errors + number]!++;
    this.#side.failed(number);
    this.#counters[DROP[sendDrop(number)]]! += datagrams;
    this.#count(COUNT.packetsOut, -datagrams, datagrams * PACKET - bytes);
  }

  /** The way in. One recvmmsg(2) returns many datagrams; the kernel may have bundled those of one sender. */
  #fromUdpToTun(now: number): void {
    const batch = this.#incoming;
    const count = batch.receive(this.#fds.udp);
    if (count < 0) this.#receiveFailed(-count);
    for (let slot = 0; slot < count; slot++) {
      const end = batch.offset(slot) + batch.length(slot);
      const size = batch.segmentSize(slot);
      let at = batch.offset(slot);
      do {
        this.#unwrap(slot, at, Math.min(size, end - at), now);
        at += size;
      } while (at < end);
    }
    this.#deliver();
  }

  /** Takes the packet out of a datagram, if the datagram is acceptable. */
  #unwrap(slot: number, at: number, size: number, now: number): void {
    const batch = this.#incoming;
    const packet = at + PACKET;
    const length = size - PACKET;
    const version = checkDatagram(this.#memory.view, at, size);
    const refusal =
      version === 0 ? DROP.malformed : this.#side.accept(batch, slot, packet, length, version, now);
    if (refusal !== 0) {
      this.#counters[refusal]!++;
      return;
    }
    this.#note(KIND.in, packet, length, batch.senderBytes, batch.senderOffset(slot));
    this.#writer.add(packet, length);
  }

  /** Writes the received packets to the device. */
  #deliver(): void {
    const writer = this.#writer;
    writer.flush();
    this.#count(COUNT.packetsIn, writer.packets, writer.bytes);
    if (writer.refused > 0) this.#deviceFailed(writer.error, writer.refused);
    writer.packets = writer.bytes = writer.refused = 0;
  }

  #receiveFailed(number: number): void {
    if (number === ERRNO.EAGAIN || number === ERRNO.EINTR) return;
    this.#counters[COUNT.errors + number]!++;
    this.#side.failed(number);
  }

  /** @param packets how many packets the failed call was for */
  #deviceFailed(number: number, packets: number): void {
    if (number === ERRNO.EAGAIN || number === ERRNO.EINTR) return;
    if (number === ERRNO.EBADFD) this.#deviceGone = true;
    else if (number === ERRNO.EIO) this.#counters[DROP.deviceDown]! += packets;
    else this.#counters[number === ERRNO.EINVAL ? DROP.malformed : DROP.congested]! += packets;
  }

  #count(counter: number, packets: number, bytes: number): void {
    this.#counters[counter]! += packets;
    this.#counters[counter + 1]! += bytes; // bytes are counted next to packets
  }

  #note(kind: Kind, packet: number, length: number, outer: Uint8Array, offset: number): void {
    this.#log?.write(kind, this.#memory.bytes, packet, length, outer, offset);
  }
}

/**
 * Whether a packet is itself a datagram to the endpoint that it would be sent to: the routes lead the tunnel's
 * datagrams back into it. Wrapped again, it would come back larger, for ever.
 */
function isOwnDatagram(
  bytes: Uint8Array,
  packet: number,
  version: 4 | 6,
  endpoints: Memory,
  endpoint: number,
): boolean {
  const header = version === 4 ? IPV4 : IPV6;
  const protocol = bytes[packet + (version === 4 ? IPV4.protocol : IPV6.nextHeader)];
  if (protocol !== PROTOCOL.udp) return false;
  const name = endpoint + ENDPOINT.name;
  const inet = endpoints.view.getUint16(name, true) === AF.inet;
  // From the end: there an IPv4-mapped address has the IPv4 address.
  const length = version === 4 ? 4 : 16;
  const end = name + (inet ? SOCKADDR_IN.address + 4 : SOCKADDR_IN6.address + 16);
  for (let i = 1; i <= length; i++) {
    if (bytes[packet + header.destination + length - i] !== endpoints.bytes[end - i]) return false;
  }
  return true;
}
