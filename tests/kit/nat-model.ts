import { parseAddress } from '../../src/ip/address.js';
import type { Endpoint } from '../../src/ip/endpoint.js';
import { endpointKey } from '../../src/node/machine/paths/candidates.js';

/** How a router maps and filters ports: RFC 4787 §4.1 and §5, and Linux. */
interface Behaviour {
  /** The outer port of a connection: the inner port, one for each socket, or one for each connection. */
  readonly port: 'same' | 'per-socket' | 'per-connection';
  /** Which remote endpoints may answer. */
  readonly filter: 'none' | 'address' | 'port';
  /** The router remembers a stranger's packet as its own, so no host inside gets that port towards the stranger. */
  readonly remembersStrangers?: boolean;
}

const BEHAVIOURS = {
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
} as const satisfies Record<string, Behaviour>;
export type NatKind = keyof typeof BEHAVIOURS;

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

/** A router that translates addresses, with the connection timeouts of Linux. */
export class Nat {
  /** Its outer address, or undefined when it does not translate. */
  readonly wan: string | undefined;
  readonly #behaviour: Behaviour;
  readonly #connections = new Map<string, Connection>();
  /** Outer ports by inner socket, which never expire. */
  readonly #ports = new Map<string, number>();
  /** When a stranger's packet to a port is forgotten. */
  readonly #strangers = new Map<string, number>();
  #nextPort = 50_000;

  constructor(kind: NatKind, wan: string | undefined) {
    this.wan = wan;
    this.#behaviour = BEHAVIOURS[kind];
  }

  /** Forwards a datagram to the outside. @returns its source endpoint outside */
  out(inner: Endpoint, to: Endpoint, now: number): Endpoint {
    const key = `${endpointKey(inner)}>${endpointKey(to)}`;
    let connection = this.#connections.get(key);
    if (connection === undefined || connection.until <= now) {
      connection = { inner, remote: to, port: this.#portFor(inner, to, now), isAnswered: false, until: 0 };
      this.#connections.set(key, connection);
    }
    touch(connection, now);
    return this.wan === undefined ? inner : { address: parseAddress(this.wan)!, port: connection.port };
  }

  /** Receives a datagram from the outside. @returns its destination inside, or undefined when it is dropped */
  in(from: Endpoint, to: Endpoint, now: number): Endpoint | undefined {
    const { filter, remembersStrangers } = this.#behaviour;
    const { port } = to;
    const isFor = (one: Connection): boolean =>
      one.port === port && (this.wan !== undefined || endpointKey(one.inner) === endpointKey(to));
    const live = [...this.#connections.values()].filter((one) => isFor(one) && one.until > now);
    const own = live.find(({ remote }) => endpointKey(remote) === endpointKey(from));
    if (own !== undefined) {
      own.isAnswered = true;
      touch(own, now);
      return own.inner;
    }
    if (remembersStrangers) this.#strangers.set(strangerKey(from, port), now + UNANSWERED);
    if (filter === 'port') return undefined;
    return live.find(({ remote }) => filter === 'none' || remote.address.join() === from.address.join())
      ?.inner;
  }

  #portFor(inner: Endpoint, to: Endpoint, now: number): number {
    switch (this.#behaviour.port) {
      case 'per-connection':
        return this.#nextPort++;
      case 'per-socket': {
        const port = this.#ports.get(endpointKey(inner)) ?? this.#nextPort++;
        this.#ports.set(endpointKey(inner), port);
        return port;
      }
      case 'same':
        return this.wan !== undefined && this.#isTaken(inner, to, now) ? this.#nextPort++ : inner.port;
    }
  }

  /** Whether another connection to the same remote endpoint uses this port. */
  #isTaken({ port }: Endpoint, to: Endpoint, now: number): boolean {
    if ((this.#strangers.get(strangerKey(to, port)) ?? 0) > now) return true;
    return [...this.#connections.values()].some(
      (one) => one.port === port && one.until > now && endpointKey(one.remote) === endpointKey(to),
    );
  }
}

const strangerKey = (from: Endpoint, port: number): string => `${endpointKey(from)}>${port}`;

function touch(connection: Connection, now: number): void {
  connection.until = now + (connection.isAnswered ? ANSWERED : UNANSWERED);
}
