import { parseAddress } from '../../src/ip/address.js';
import type { Endpoint } from '../../src/ip/endpoint.js';
import { endpointKey } from '../../src/node/machine/paths/candidates.js';

/** What a router does with ports: RFC 4787 §4.1 and §5, and what Linux does. */
interface Behaviour {
  /** Which outer port a connection gets. */
  readonly port: 'same' | 'of-its-socket' | 'of-its-own';
  /** Who may answer. */
  readonly filter: 'none' | 'address' | 'port';
  /** A stranger's packet, which is the router's own to take, is remembered: nobody inside gets its port for him. */
  readonly remembersStrangers?: boolean;
}

const BEHAVIOURS = {
  /** No translation: only what was asked for comes in. */
  firewall: { port: 'same', filter: 'port' },
  fullCone: { port: 'of-its-socket', filter: 'none' },
  restricted: { port: 'of-its-socket', filter: 'address' },
  keepsPorts: { port: 'same', filter: 'port' },
  easy: { port: 'of-its-socket', filter: 'port' },
  /** A port of its own for every destination: symmetric. */
  hard: { port: 'of-its-own', filter: 'port' },
  /** Linux, with masquerade and nothing else: no filter on what is for the router itself. */
  plain: { port: 'same', filter: 'port', remembersStrangers: true },
} as const satisfies Record<string, Behaviour>;
export type NatKind = keyof typeof BEHAVIOURS;

/** How long a connection is remembered, milliseconds: nf_conntrack_udp_timeout, and the same for an answered one. */
const UNANSWERED = 30_000;
const ANSWERED = 120_000;

interface Connection {
  readonly inner: Endpoint;
  readonly remote: Endpoint;
  readonly port: number;
  isAnswered: boolean;
  until: number;
}

/** A router that translates addresses, and remembers connections for as long as Linux does. */
export class Nat {
  /** Its outer address; undefined: it does not translate. */
  readonly wan: string | undefined;
  readonly #behaviour: Behaviour;
  readonly #connections = new Map<string, Connection>();
  /** By inner socket, for good. */
  readonly #ports = new Map<string, number>();
  /** Until when a stranger's packets to a port are remembered. */
  readonly #strangers = new Map<string, number>();
  #nextPort = 50_000;

  constructor(kind: NatKind, wan: string | undefined) {
    this.wan = wan;
    this.#behaviour = BEHAVIOURS[kind];
  }

  /** @returns what the source of a datagram is when it has left */
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

  /** A datagram came to one of its ports, or past it. @returns whose it is inside; undefined when it goes no further */
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
      case 'of-its-own':
        return this.#nextPort++;
      case 'of-its-socket': {
        const port = this.#ports.get(endpointKey(inner)) ?? this.#nextPort++;
        this.#ports.set(endpointKey(inner), port);
        return port;
      }
      case 'same':
        return this.wan !== undefined && this.#isTaken(inner, to, now) ? this.#nextPort++ : inner.port;
    }
  }

  /** Whether what this remote would answer to could be another's. */
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
