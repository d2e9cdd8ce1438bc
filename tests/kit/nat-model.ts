import { addressesEqual, parseAddress } from '../../src/ip/address.js';
import type { Endpoint } from '../../src/ip/endpoint.js';

/** How a router maps and filters ports: RFC 4787 §4.1 and §5, and Linux. */
interface Behavior {
  /** The outer port of a connection: the inner port, one for each socket, or one for each connection. */
  readonly port: 'same' | 'per-socket' | 'per-connection';
  /** Which remote endpoints may answer. */
  readonly filter: 'none' | 'address' | 'port';
  /** The router remembers a stranger's packet as its own, so no host inside gets that port toward the stranger. */
  readonly remembersStrangers?: boolean;
}

const BEHAVIORS = {
  /** No translation; only answers come in. */
  firewall: { port: 'same', filter: 'port' },
  fullCone: { port: 'per-socket', filter: 'none' },
  restricted: { port: 'per-socket', filter: 'address' },
  keepsPorts: { port: 'same', filter: 'port' },
  easy: { port: 'per-socket', filter: 'port' },
  /** Symmetric: another port for each destination. */
  hard: { port: 'per-connection', filter: 'port' },
  /** Linux with only a masquerade rule: packets to the router itself are not filtered. */
  plain: { port: 'same', filter: 'port', remembersStrangers: true },
} as const satisfies Record<string, Behavior>;
export type NatKind = keyof typeof BEHAVIORS;

/** How long a connection is remembered, milliseconds: nf_conntrack_udp_timeout and nf_conntrack_udp_timeout_stream. */
const UNANSWERED = 30_000;
const ANSWERED = 120_000;

interface Connection {
  readonly inner: Endpoint;
  readonly remote: Endpoint;
  readonly port: number;
  isAnswered: boolean;
  until: number;
}

/** A router that translates IPv4 addresses, with the connection timeouts of Linux. */
export class Nat {
  /** Its outer address, or undefined when it does not translate. */
  readonly #wan: Uint8Array | undefined;
  readonly #behavior: Behavior;
  /** By the `endpointNumber` of the inner socket, then of the remote one. */
  readonly #connections = new Map<number, Map<number, Connection>>();
  /** By outer port, then by the `endpointNumber` of the remote socket. */
  readonly #byPort = new Map<number, Map<number, Connection>>();
  /** Outer ports by inner socket, which never expire. */
  readonly #ports = new Map<number, number>();
  /** By port, then by stranger: when the stranger's packet is forgotten. */
  readonly #strangers = new Map<number, Map<number, number>>();
  #nextPort = 50_000;

  constructor(kind: NatKind, wan: string | undefined) {
    this.#wan = wan === undefined ? undefined : parseAddress(wan)!;
    this.#behavior = BEHAVIORS[kind];
  }

  /** Forwards a datagram to the outside. @returns its source endpoint outside */
  out(inner: Endpoint, to: Endpoint, now: number): Endpoint {
    const remotes = entry(this.#connections, endpointNumber(inner));
    const remote = endpointNumber(to);
    let connection = remotes.get(remote);
    if (connection === undefined || connection.until <= now) {
      connection = { inner, remote: to, port: this.#portFor(inner, to, now), isAnswered: false, until: 0 };
      remotes.set(remote, connection);
      entry(this.#byPort, connection.port).set(remote, connection);
    }
    touch(connection, now);
    return this.#wan === undefined ? inner : { address: this.#wan, port: connection.port };
  }

  /** Receives a datagram from the outside. @returns its destination inside, or undefined when it is dropped */
  in(from: Endpoint, to: Endpoint, now: number): Endpoint | undefined {
    const { filter, remembersStrangers } = this.#behavior;
    const remote = endpointNumber(from);
    const found =
      this.#wan === undefined ? this.#connections.get(endpointNumber(to)) : this.#byPort.get(to.port);
    const own = found?.get(remote);
    if (own !== undefined && own.until > now) {
      own.isAnswered = true;
      touch(own, now);
      return own.inner;
    }
    if (remembersStrangers) entry(this.#strangers, to.port).set(remote, now + UNANSWERED);
    if (filter === 'port') return undefined;
    for (const one of found?.values() ?? [])
      if (one.until > now && (filter === 'none' || addressesEqual(one.remote.address, from.address)))
        return one.inner;
    return undefined;
  }

  #portFor(inner: Endpoint, to: Endpoint, now: number): number {
    switch (this.#behavior.port) {
      case 'per-connection':
        return this.#nextPort++;
      case 'per-socket': {
        const port = this.#ports.get(endpointNumber(inner)) ?? this.#nextPort++;
        this.#ports.set(endpointNumber(inner), port);
        return port;
      }
      case 'same':
        return this.#wan !== undefined && this.#isTaken(inner.port, to, now) ? this.#nextPort++ : inner.port;
    }
  }

  /** Whether another connection to the same remote endpoint uses this port. */
  #isTaken(port: number, to: Endpoint, now: number): boolean {
    const remote = endpointNumber(to);
    const stranger = this.#strangers.get(port)?.get(remote) ?? 0;
    const other = this.#byPort.get(port)?.get(remote)?.until ?? 0;
    return Math.max(stranger, other) > now;
  }
}

/** An IPv4 address and port as a map key. */
export const endpointNumber = ({ address, port }: Endpoint): number => addressNumber(address) * 65_536 + port;

export const addressNumber = (address: Uint8Array): number =>
  ((address[0]! << 24) | (address[1]! << 16) | (address[2]! << 8) | address[3]!) >>> 0;

function entry<V>(maps: Map<number, Map<number, V>>, key: number): Map<number, V> {
  const found = maps.get(key) ?? new Map<number, V>();
  maps.set(key, found);
  return found;
}

function touch(connection: Connection, now: number): void {
  connection.until = now + (connection.isAnswered ? ANSWERED : UNANSWERED);
}
