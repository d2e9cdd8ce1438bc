import type { Endpoint } from '../ip/endpoint.js';
import { IPV4, IPV6 } from '../ip/packet.js';
import { ERRNO } from '../linux/ffi/errno.js';
import { allocate } from '../linux/ffi/memory.js';
import { AF, SOCKADDR_IN, SOCKADDR_IN6, writeSocketAddress } from '../linux/net/socket-address.js';
import { reconnect } from '../linux/net/udp.js';
import { ENDPOINT, type ReceiveBatch } from '../packets/udp-batch.js';
import { ServerChoice } from './server-choice.js';
import { COUNT, dropCounter } from './shared.js';
import type { Side } from './side.js';

const STRANGER = dropCounter('stranger');

/** How soon to look for a route to the server again after there was none, milliseconds. */
const RETRY = 1_000;

/** Errors that say nothing about the path to the server. */
const NOT_THE_WAY: ReadonlySet<number> = new Set([ERRNO.ENOBUFS, ERRNO.EMSGSIZE, ERRNO.EPERM]);

/** The side that may be behind a NAT. It talks to its server only. */
export class Client implements Side {
  readonly endpoints;
  readonly noRoute = dropCounter('unreachable');
  readonly #fd: number;
  readonly #choice: ServerChoice;
  readonly #counters: Float64Array;
  /** Length of the socket addresses. The records have length 0, because a connected socket needs no address. */
  readonly #nameLength: number;
  /** Offset of the record of the address in use. */
  #server = 0;
  #connected = false;
  #triedAt = Number.NEGATIVE_INFINITY;

  /**
   * @param fd the socket, of that `family`
   * @param servers the addresses of the server, best first
   */
  constructor(fd: number, family: number, servers: readonly Endpoint[], counters: Float64Array) {
    this.#fd = fd;
    this.#counters = counters;
    this.#choice = new ServerChoice(servers.length);
    this.endpoints = allocate(servers.length * ENDPOINT.size);
    this.#nameLength = family === AF.inet ? SOCKADDR_IN.size : SOCKADDR_IN6.size;
    for (const [i, server] of servers.entries()) {
      writeSocketAddress(this.endpoints.view, i * ENDPOINT.size + ENDPOINT.name, family, server);
    }
    this.#connect();
  }

  route(bytes: Uint8Array, packet: number, version: 4 | 6, now: number): number {
    if (!this.#connected) return -1;
    if (!isMulticast(bytes, packet, version)) this.#choice.sent(now);
    return this.#server;
  }

  accept(batch: ReceiveBatch, slot: number): number {
    // The socket is connected, but its queue may hold datagrams from before it was.
    const sender = batch.senderOffset(slot);
    for (let i = 0; i < this.#nameLength; i++) {
      if (batch.senderBytes[sender + i] !== this.endpoints.bytes[this.#server + i]) return STRANGER;
    }
    this.#choice.heard();
    return 0;
  }

  failed(errno: number): void {
    if (!NOT_THE_WAY.has(errno)) this.#choice.failed();
  }

  tick(now: number): void {
    const lost = !this.#connected && now - this.#triedAt >= RETRY;
    if (!lost && !this.#choice.due(now)) return;
    this.#triedAt = now;
    this.#server = this.#choice.next(now) * ENDPOINT.size;
    this.#counters[COUNT.server] = this.#choice.current;
    this.#connect();
  }

  #connect(): void {
    const address = this.endpoints.address + this.#server + ENDPOINT.name;
    const errno = reconnect(this.#fd, address, this.#nameLength);
    this.#connected = errno === 0;
    if (errno !== 0) this.#counters[COUNT.errors + errno]!++;
  }
}

/** Whether a packet is a multicast, which needs no answer: the kernel sends such packets by itself. */
function isMulticast(bytes: Uint8Array, packet: number, version: 4 | 6): boolean {
  return version === 4 ? bytes[packet + IPV4.destination]! >= 224 : bytes[packet + IPV6.destination] === 0xff;
}
