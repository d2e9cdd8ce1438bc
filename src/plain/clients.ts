import { IPV4, IPV6 } from '../ip/packet.js';
import { KeyTable } from './key-table.js';

/** The most outer addresses that a listener serves, and the most inner addresses behind them. */
export const MAX_CLIENTS = 1024;
const MAX_INNER = 4096;

/** An inner address that is silent for this long is forgotten, milliseconds. Most NATs forget it sooner. */
export const CLIENT_LIFETIME = 10 * 60_000;

/** Length of an outer address: a socket address as the kernel writes it. */
export const OUTER_LENGTH = 28;

/** What a packet's source address taught. */
export const LEARNED = { nothing: 0, news: 1, tableFull: 2 } as const;
export type Learned = (typeof LEARNED)[keyof typeof LEARNED];

/**
 * The listener's clients. The post keeps one address, that of the last datagram from anyone. Here each
 * *inner source address* is remembered with the *outer address* it came from, as a switch learns which port
 * a machine is behind. So one listener serves many clients, and finds a client whose NAT gave it a new port
 * with the client's next packet.
 *
 * A machine without I/O: call `hear` for each packet that comes, `clientFor` for each that goes, and
 * `expire` now and then. A client keeps its number while it has any inner address.
 */
export class Clients {
  readonly #outer: KeyTable;
  readonly #inner: KeyTable;
  /** By inner address number: its client, and when it was last heard. */
  readonly #clientOf = new Int32Array(MAX_INNER);
  readonly #lastHeard = new Float64Array(MAX_INNER);
  /** By client number: how many inner addresses it has. */
  readonly #innerCount = new Int32Array(MAX_CLIENTS);
  readonly #key = new Uint8Array(16);
  #heard = -1;

  /** @param seed a 32-bit number that strangers cannot know */
  constructor(seed: number) {
    this.#outer = new KeyTable(MAX_CLIENTS, OUTER_LENGTH, seed);
    this.#inner = new KeyTable(MAX_INNER, 16, seed);
  }

  /** How many clients there are. */
  get count(): number {
    return this.#outer.size;
  }

  /** The number of the client in the last `hear`, or -1 for none. */
  get heard(): number {
    return this.#heard;
  }

  /**
   * Learns from a well-formed packet which outer address its source is behind.
   *
   * @param packet where the packet begins in `bytes`
   * @param outer where the outer address, `OUTER_LENGTH` bytes, begins in `outerBytes`
   * @param now milliseconds
   */
  hear(
    bytes: Uint8Array,
    packet: number,
    version: 4 | 6,
    outerBytes: Uint8Array,
    outer: number,
    now: number,
  ): Learned {
    this.#takeKey(bytes, packet + (version === 4 ? IPV4.source : IPV6.source), version);
    const known = this.#outer.find(outerBytes, outer);
    this.#heard = known;
    if (!isHostAddress(this.#key)) return LEARNED.nothing;
    const inner = this.#inner.find(this.#key, 0);
    if (inner >= 0 && known === this.#clientOf[inner]) {
      this.#lastHeard[inner] = now;
      return LEARNED.nothing;
    }
    return this.#remember(inner, known, outerBytes, outer, now);
  }

  #remember(
    knownInner: number,
    knownClient: number,
    outerBytes: Uint8Array,
    outer: number,
    now: number,
  ): Learned {
    const client = knownClient >= 0 ? knownClient : this.#outer.add(outerBytes, outer);
    if (client < 0) return LEARNED.tableFull;
    if (knownClient < 0) this.#innerCount[client] = 0;
    const inner = knownInner >= 0 ? knownInner : this.#inner.add(this.#key, 0);
    if (inner < 0) {
      if (this.#innerCount[client] === 0) this.#outer.remove(client);
      return LEARNED.tableFull;
    }
    if (knownInner >= 0) this.#leave(this.#clientOf[knownInner]!);
    this.#clientOf[inner] = client;
    this.#innerCount[client]!++;
    this.#lastHeard[inner] = now;
    this.#heard = client;
    return LEARNED.news;
  }

  /**
   * Finds the client for a packet by its destination. If there is only one client, an unknown destination
   * must be behind it.
   *
   * @returns the client's number, or -1 for none
   */
  clientFor(bytes: Uint8Array, packet: number, version: 4 | 6): number {
    this.#takeKey(bytes, packet + (version === 4 ? IPV4.destination : IPV6.destination), version);
    const inner = this.#inner.find(this.#key, 0);
    if (inner >= 0) return this.#clientOf[inner]!;
    return this.#outer.size === 1 ? this.#outer.first() : -1;
  }

  /** Forgets inner addresses that were silent for `CLIENT_LIFETIME`, and clients without any. */
  expire(now: number): void {
    for (let inner = 0; inner < MAX_INNER; inner++) {
      if (!this.#inner.has(inner) || now - this.#lastHeard[inner]! < CLIENT_LIFETIME) continue;
      this.#inner.remove(inner);
      this.#leave(this.#clientOf[inner]!);
    }
  }

  /** Takes one inner address from a client. */
  #leave(client: number): void {
    this.#innerCount[client]!--;
    if (this.#innerCount[client] === 0) this.#outer.remove(client);
  }

  /** Puts an address into `#key`, IPv4 as IPv4-mapped IPv6. */
  #takeKey(bytes: Uint8Array, offset: number, version: 4 | 6): void {
    const key = this.#key;
    if (version === 6) {
      for (let i = 0; i < 16; i++) key[i] = bytes[offset + i]!;
      return;
    }
    key.fill(0, 0, 10);
    key[10] = key[11] = 0xff;
    for (let i = 0; i < 4; i++) key[12 + i] = bytes[offset + i]!;
  }
}

/** Whether an address can belong to a host: it is not unspecified, loopback, multicast or reserved. */
function isHostAddress(key: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (key[i] !== 0) return key[0] !== 0xff;
  return key[10] === 0xff && key[11] === 0xff && key[12] !== 0 && key[12] !== 127 && key[12]! < 224;
}
