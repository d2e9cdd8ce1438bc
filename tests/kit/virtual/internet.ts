import { addressesEqual } from '../../../src/ip/address.js';
import type { Endpoint } from '../../../src/ip/endpoint.js';
import { endpointKey } from '../../../src/node/machine/paths/candidates.js';
import { addressNumber, Nat, type NatKind } from '../nat-model.js';
import type { SeededRandom } from '../random.js';
import type { Agenda } from './agenda.js';

/** What a machine has on the internet: one address, at a site that may have a router. */
export interface Host {
  readonly site: Site;
  /** Its IPv4 address: in the site's LAN, or public. */
  readonly address: Uint8Array;
  /** Asleep, without power, or unplugged: it neither sends nor hears. */
  isDown: boolean;
  /** A datagram came to its UDP port. */
  receive(bytes: Uint8Array, from: Endpoint): void;
}

/** A place with one way to the internet. */
export interface Site {
  readonly name: string;
  /** The public address; undefined: its hosts have public addresses themselves. */
  readonly wan: Uint8Array | undefined;
  readonly nats: readonly NatKind[];
  /** From the inside to the outside. They forget everything when they are replaced. */
  routers: readonly Nat[];
  /** No packet passes between here and elsewhere. */
  isCut: boolean;
  /** No UDP does. */
  blocksUdp: boolean;
  /** The longest datagram that passes, bytes. */
  carries: number;
  /** Of datagrams, the part that is lost. */
  loss: number;
  /** How much longer than elsewhere packets to and from the internet are under way, milliseconds each way. */
  latency: number;
}

/** No datagram with fewer hops gets across it. */
const ACROSS = 8;
/** One way, milliseconds; by half of it a delay may be longer. */
const DELAY = { lan: 0.3, internet: 15 } as const;

/** Sites behind NATs by RFC 4787's behaviours, and what passes between them: datagrams and TCP connections. */
export class Internet {
  readonly agenda: Agenda;
  /** Datagrams that were sent. */
  sent = 0;
  readonly #plugged = new Set<Host>();
  /** The same by their address on the internet: that of their site, or their own. */
  readonly #hosts = new Map<number, Set<Host>>();
  readonly #random: SeededRandom;

  constructor(agenda: Agenda, random: SeededRandom) {
    this.agenda = agenda;
    this.#random = random;
  }

  /** @param nats of its routers, from the inside to the outside; none: its hosts are on the internet themselves */
  site(name: string, wan: Uint8Array | undefined, nats: readonly NatKind[]): Site {
    const site: Site = {
      ...{ name, wan, nats, routers: [], isCut: false, blocksUdp: false },
      ...{ carries: Number.POSITIVE_INFINITY, loss: 0, latency: 0 },
    };
    this.replaceRouters(site);
    return site;
  }

  /** The routers start again, and know no connection any more. */
  replaceRouters(site: Site): void {
    const last = site.nats.length - 1;
    site.routers = site.nats.map((kind, i) => {
      if (kind === 'firewall') return new Nat(kind, undefined);
      return new Nat(kind, i === last ? site.wan?.join('.') : `100.64.${i}.2`);
    });
  }

  plugIn(host: Host): void {
    this.#plugged.add(host);
    this.#hostsAt(outerAddress(host)).add(host);
  }

  unplug(host: Host): void {
    this.#plugged.delete(host);
    this.#hostsAt(outerAddress(host)).delete(host);
  }

  isPluggedIn(host: Host): boolean {
    return this.#plugged.has(host);
  }

  /** @param hops how many routers it may pass, the one that drops it included */
  send(from: Host, port: number, bytes: Uint8Array, to: Endpoint, hops = Number.POSITIVE_INFINITY): void {
    this.sent++;
    if (from.isDown) return;
    const source = { address: from.address, port };
    const near = this.#neighbour(from, to);
    if (near !== undefined) {
      this.#deliver(near, bytes, source, DELAY.lan);
      return;
    }
    const { site } = from;
    const outer = this.#leave(site, source, to, hops);
    if (outer === undefined || hops < ACROSS || !this.#passes(site, bytes)) return;
    this.#later(DELAY.internet + site.latency, () => this.#arrive(bytes, outer, to));
  }

  /** A TCP connection to a public address, as `dial` of a host. @param accept what listens there; undefined: nothing */
  dial(from: Host, to: Host, accept: (end: ConnectionEnd) => ConnectionHandlers | undefined): Connection {
    return new Connection(this, from, to, accept);
  }

  /** Whether packets pass between two hosts, as far as TCP is concerned. */
  reaches(a: Host, b: Host): boolean {
    return !a.isDown && !b.isDown && !a.site.isCut && !b.site.isCut;
  }

  /** How long a packet is under way across the internet, milliseconds. */
  delay(a: Host, b: Host): number {
    return (DELAY.internet + a.site.latency + b.site.latency) * (1 + 0.5 * this.#random.fraction());
  }

  chance(probability: number): boolean {
    return this.#random.chance(probability);
  }

  #neighbour(from: Host, to: Endpoint): Host | undefined {
    if (from.site.wan === undefined) return undefined;
    return this.#inside(from.site.wan, to.address);
  }

  /** @returns the source as the internet sees it; undefined when the datagram gets no farther than a router */
  #leave(site: Site, source: Endpoint, to: Endpoint, hops: number): Endpoint | undefined {
    let outer = source;
    for (const [i, router] of site.routers.entries()) {
      if (hops <= i + 1) return undefined;
      outer = router.out(outer, to, this.agenda.now);
    }
    return outer;
  }

  #passes(site: Site, bytes: Uint8Array): boolean {
    return (
      !site.isCut &&
      !site.blocksUdp &&
      bytes.length <= site.carries &&
      !(site.loss > 0 && this.#random.chance(site.loss))
    );
  }

  #arrive(bytes: Uint8Array, source: Endpoint, to: Endpoint): void {
    const [some] = this.#hostsAt(to.address);
    if (some === undefined || !this.#passes(some.site, bytes)) return;
    const { routers, latency } = some.site;
    let place: Endpoint | undefined = to;
    for (let i = routers.length - 1; i >= 0 && place !== undefined; i--)
      place = routers[i]!.in(source, place, this.agenda.now);
    const inner = place && this.#inside(to.address, place.address);
    if (inner !== undefined) this.#deliver(inner, bytes, source, latency);
  }

  #inside(outer: Uint8Array, address: Uint8Array): Host | undefined {
    for (const host of this.#hostsAt(outer)) if (addressesEqual(host.address, address)) return host;
    return undefined;
  }

  #hostsAt(outer: Uint8Array): Set<Host> {
    const key = addressNumber(outer);
    const found = this.#hosts.get(key) ?? new Set<Host>();
    this.#hosts.set(key, found);
    return found;
  }

  #deliver(host: Host, bytes: Uint8Array, source: Endpoint, delay: number): void {
    const receive = (): void => {
      if (!host.isDown && this.isPluggedIn(host)) host.receive(bytes, source);
    };
    if (delay === 0) receive();
    else this.#later(delay, receive);
  }

  #later(delay: number, run: () => void): void {
    this.agenda.after(delay * (1 + 0.5 * this.#random.fraction()), run);
  }
}

const outerAddress = ({ site, address }: Host): Uint8Array => site.wan ?? address;

/** For messages of tests. */
export const show = (endpoint: Endpoint | undefined): string =>
  endpoint === undefined ? 'nowhere' : endpointKey(endpoint);

export interface ConnectionHandlers {
  message(bytes: Uint8Array): void;
  ping(): void;
  /** The other side has closed it, or its machine says that there is none. @param code RFC 6455 §7.4; 1006 without a close */
  closed(code: number): void;
}

export interface DialHandlers extends ConnectionHandlers {
  opened(): void;
  refused(): void;
  pong(): void;
}

/** One side's half of a connection. */
export interface ConnectionEnd {
  readonly remote: Host;
  send(bytes: Uint8Array): void;
  ping(): void;
  close(code: number): void;
}

/** How long TCP waits at most to send again what was lost, milliseconds. */
const RESEND = 2_000;

/**
 * A WebSocket over TCP: messages arrive in order or not at all. What cannot pass is sent again until it can; where the
 * address of an end is gone nothing ever arrives, and nobody says so.
 */
export class Connection {
  readonly #internet: Internet;
  readonly #hosts: readonly [Host, Host];
  readonly #handlers: [ConnectionHandlers | undefined, ConnectionHandlers | undefined] = [
    undefined,
    undefined,
  ];
  /** When the latest message to each side arrives, if it can. */
  readonly #arrivals: [number, number] = [0, 0];
  /** Until when messages to each side wait behind one that is to be sent again. */
  readonly #blocked: [number, number] = [0, 0];
  #isOver = false;

  constructor(
    internet: Internet,
    from: Host,
    to: Host,
    accept: (end: ConnectionEnd) => ConnectionHandlers | undefined,
  ) {
    this.#internet = internet;
    this.#hosts = [from, to];
    // SYN, SYN-ACK and the WebSocket's upgrade.
    this.#pass(1, () => {
      const handlers = accept(this.#end(1));
      this.#handlers[1] = handlers;
      this.#pass(0, () => {
        if (handlers === undefined) this.#dialled?.refused();
        else this.#dialled?.opened();
      });
    });
  }

  get #dialled(): DialHandlers | undefined {
    return this.#handlers[0] as DialHandlers | undefined;
  }

  /** The end of the host that dialled. */
  begin(handlers: DialHandlers): ConnectionEnd {
    this.#handlers[0] = handlers;
    return this.#end(0);
  }

  #end(side: 0 | 1): ConnectionEnd {
    const other = side === 0 ? 1 : 0;
    return {
      remote: this.#hosts[other],
      send: (bytes) => {
        const copy = bytes.slice();
        this.#pass(other, () => this.#handlers[other]?.message(copy));
      },
      ping: () =>
        this.#pass(other, () => {
          this.#handlers[other]?.ping();
          if (this.#handlers[other] !== undefined && side === 0) this.#pass(0, () => this.#dialled?.pong());
          else if (this.#handlers[other] !== undefined) this.#pass(1, () => this.#handlers[1]?.ping());
        }),
      close: (code) => {
        this.#handlers[side] = undefined;
        this.#pass(other, () => {
          const handlers = this.#handlers[other];
          this.#handlers[other] = undefined;
          this.#isOver = true;
          handlers?.closed(code);
        });
      },
    };
  }

  /** Something goes to one side, behind what went there before. */
  #pass(to: 0 | 1, arrive: () => void): void {
    const { agenda } = this.#internet;
    const at = Math.max(agenda.now + this.#internet.delay(...this.#hosts), this.#arrivals[to]);
    this.#arrivals[to] = at;
    agenda.at(at, () => this.#tryToPass(to, arrive));
  }

  #tryToPass(to: 0 | 1, arrive: () => void): void {
    const { agenda } = this.#internet;
    const [a, b] = this.#hosts;
    if (this.#isOver || !this.#internet.isPluggedIn(a) || !this.#internet.isPluggedIn(b)) return;
    if (agenda.now >= this.#blocked[to]) {
      if (this.#internet.reaches(a, b)) {
        arrive();
        return;
      }
      this.#blocked[to] = agenda.now + RESEND;
    }
    agenda.at(this.#blocked[to], () => this.#tryToPass(to, arrive));
  }
}
