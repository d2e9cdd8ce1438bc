import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAddress } from '../../src/ip/address.js';
import { call, errno, libc } from '../../src/linux/ffi/libc.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { writeSocketAddress } from '../../src/linux/net/socket-address.js';
import { UdpSocket } from '../../src/linux/net/udp.js';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { SendBatch } from '../../src/packets/send-batch.js';
import { ENDPOINT, ReceiveBatch } from '../../src/packets/udp-batch.js';

/** A datagram, sent or received. */
export interface Datagram {
  readonly payload: Uint8Array;
  /** DSCP and ECN. */
  readonly trafficClass: number;
}

const BATCH = 64;
const ROOM = 8 << 20;

/** Waits for `count` datagrams, or until none has arrived for `patience` milliseconds. */
export async function receive(
  { fd }: UdpSocket,
  batch: ReceiveBatch,
  count: number,
  patience: number,
): Promise<Datagram[]> {
  const received: Datagram[] = [];
  for (let deadline = performance.now() + patience; received.length < count; ) {
    const now = performance.now(); // before receiving: a process that was paused tries once more
    const slots = batch.receive(fd);
    if (slots > 0) deadline = performance.now() + patience;
    else if (now >= deadline) break;
    else await sleep(1);
    for (let slot = 0; slot < slots; slot++) {
      const at = batch.offset(slot);
      const payload = Uint8Array.from(batch.memory.bytes.subarray(at, at + batch.length(slot)));
      received.push({ payload, trafficClass: batch.trafficClass(slot) });
    }
  }
  return received;
}

/**
 * A UDP socket of the test on a host. It sends a batch with one system call, and reports the traffic class of what it
 * receives.
 */
export class Datagrams {
  readonly socket: UdpSocket;
  readonly #room = allocate(ROOM);
  readonly #endpoint = allocate(ENDPOINT.size);
  readonly #sending = new SendBatch(BATCH);
  readonly #receiving = new ReceiveBatch(BATCH);

  constructor(t: Pick<TestContext, 'after'>, host: Namespace, port: number) {
    this.socket = host.inside(() => UdpSocket.open(port));
    t.after(() => this.socket.close());
    this.socket.reportTrafficClass();
    this.socket.setBuffers(16 << 20);
  }

  /** Sends up to 64 datagrams at once. @throws Error if the kernel refuses one */
  send(address: string, port: number, datagrams: readonly Datagram[]): void {
    this.#setEndpoint(address, port);
    let at = 0;
    for (const { payload, trafficClass } of datagrams) {
      this.#room.bytes.set(payload, at);
      const data = this.#room.address + at;
      this.#sending.addRun(data, payload.length, payload.length, this.#endpoint, 0, trafficClass);
      at += payload.length;
    }
    this.#flush();
  }

  /** Sends datagrams of `size` bytes, the last perhaps shorter, as one run (UDP GSO). */
  sendRun(address: string, port: number, bytes: Uint8Array, size: number, trafficClass = 0): void {
    this.#setEndpoint(address, port);
    this.#room.bytes.set(bytes);
    this.#sending.addRun(this.#room.address, bytes.length, size, this.#endpoint, 0, trafficClass);
    this.#flush();
  }

  /** Waits for `count` datagrams, or until none has arrived for `patience` milliseconds. */
  receive(count: number, patience = 10_000): Promise<Datagram[]> {
    return receive(this.socket, this.#receiving, count, patience);
  }

  #flush(): void {
    const number = this.#sending.flush(this.socket.fd);
    if (number === 0) return;
    while (this.#sending.pending > 0) this.#sending.skip();
    throw new Error(`cannot send a datagram: errno ${number}`);
  }

  #setEndpoint(address: string, port: number): void {
    const to = { address: parseAddress(address)!, port };
    const { view } = this.#endpoint;
    const length = writeSocketAddress(view, ENDPOINT.name, this.socket.family, to);
    view.setUint32(ENDPOINT.nameLength, length, true);
  }
}

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC = 0x80003;
/** struct sockaddr_ll, linux/if_packet.h: family u16, protocol be16, ifindex i32. */
const SOCKADDR_LL = { family: 0, protocol: 2, index: 4, size: 20 } as const;

/** Sends packets through an interface that has no link header, with their checksums as they are. */
export function injectPackets(host: Namespace, device: string, packets: readonly Uint8Array[]): void {
  const room = allocate(packets.reduce((sum, { length }) => sum + length, 0));
  const batch = new SendBatch(packets.length);
  const bound = allocate(ENDPOINT.size); // no name: the socket is bound to the device
  let at = 0;
  for (const packet of packets) {
    room.bytes.set(packet, at);
    batch.addTo(room.address + at, packet.length, bound, 0);
    at += packet.length;
  }
  const address = allocate(SOCKADDR_LL.size);
  address.view.setUint16(SOCKADDR_LL.family, AF_PACKET, true);
  address.view.setUint16(SOCKADDR_LL.protocol, packets[0]![0]! >> 4 === 4 ? 0x0800 : 0x86dd);
  host.inside(() => {
    const fd = call(libc.socket(AF_PACKET, SOCK_RAW_CLOEXEC, 0), 'socket AF_PACKET');
    try {
      address.view.setInt32(SOCKADDR_LL.index, libc.if_nametoindex(device), true);
      call(libc.bind(fd, address.address, SOCKADDR_LL.size), `bind AF_PACKET ${device}`);
      if (batch.flush(fd) !== 0) throw new Error(`cannot inject a packet: errno ${errno()}`);
    } finally {
      libc.close(fd);
    }
  });
}
