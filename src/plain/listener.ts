import { type IpAddress, toIpv6 } from '../ip/address.js';
import { allocate } from '../linux/ffi/memory.js';
import { AF, SOCKADDR_IN, SOCKADDR_IN6 } from '../linux/net/socket-address.js';
import { ENDPOINT, type ReceiveBatch } from '../packets/udp-batch.js';
import { Clients, LEARNED, MAX_CLIENTS } from './clients.js';
import { KIND, type PacketLog } from './packet-log.js';
import { COUNT, dropCounter } from './shared.js';
import type { Side } from './side.js';

const STRANGER = dropCounter('stranger');
const TABLE_FULL = dropCounter('table-full');

/** How often to look for silent clients, milliseconds. */
const SWEEP = 10_000;

/** The side with a public address. It serves everyone who talks to it, and learns their addresses. */
export class Listener implements Side {
  readonly endpoints = allocate(MAX_CLIENTS * ENDPOINT.size);
  readonly noRoute = dropCounter('no-client');
  readonly #clients: Clients;
  readonly #allowed: readonly Uint8Array[];
  readonly #family: number;
  readonly #counters: Float64Array;
  readonly #log: PacketLog;
  #sweptAt = 0;
  /** The client whose record was checked last, and when. */
  #answered = -1;
  #answeredAt = 0;

  /**
   * @param family the socket's
   * @param allowed addresses that are served; everyone if there are none
   */
  constructor(
    family: number,
    allowed: readonly IpAddress[],
    seed: number,
    counters: Float64Array,
    log: PacketLog,
  ) {
    this.#family = family;
    this.#allowed = family === AF.inet ? allowed : allowed.map(toIpv6);
    this.#clients = new Clients(seed);
    this.#counters = counters;
    this.#log = log;
  }

  route(bytes: Uint8Array, packet: number, version: 4 | 6): number {
    const client = this.#clients.clientFor(bytes, packet, version);
    return client < 0 ? -1 : client * ENDPOINT.size;
  }

  accept(
    batch: ReceiveBatch,
    slot: number,
    packet: number,
    length: number,
    version: 4 | 6,
    now: number,
  ): number {
    const sender = batch.senderOffset(slot);
    if (!this.#mayEnter(batch.senderBytes, sender)) return STRANGER;
    const learned = this.#clients.hear(batch.memory.bytes, packet, version, batch.senderBytes, sender, now);
    if (learned === LEARNED.tableFull) return TABLE_FULL;
    this.#answerTo(this.#clients.heard, batch, slot, learned === LEARNED.news, now);
    if (learned === LEARNED.news) {
      this.#log.write(KIND.learned, batch.memory.bytes, packet, length, batch.senderBytes, sender);
      this.#counters[COUNT.clients] = this.#clients.count;
    }
    return 0;
  }

  /** With each batch, not only when there is news: the client may write to another local address now. */
  #answerTo(client: number, batch: ReceiveBatch, slot: number, news: boolean, now: number): void {
    if (client < 0 || (!news && client === this.#answered && now === this.#answeredAt)) return;
    const record = client * ENDPOINT.size;
    const same = batch.sentBy(slot, this.endpoints, record) && batch.cameTo(slot, this.endpoints, record);
    if (!same) batch.writeEndpoint(slot, this.endpoints, record);
    this.#answered = client;
    this.#answeredAt = now;
  }

  failed(): void {} // an error on the path to one client says nothing about the others

  tick(now: number): void {
    if (now - this.#sweptAt < SWEEP) return;
    this.#sweptAt = now;
    this.#clients.expire(now);
    this.#counters[COUNT.clients] = this.#clients.count;
  }

  #mayEnter(bytes: Uint8Array, sender: number): boolean {
    if (this.#allowed.length === 0) return true;
    const address = sender + (this.#family === AF.inet ? SOCKADDR_IN.address : SOCKADDR_IN6.address);
    for (const allowed of this.#allowed) {
      let same = true;
      for (let i = 0; same && i < allowed.length; i++) same = allowed[i] === bytes[address + i];
      if (same) return true;
    }
    return false;
  }
}
