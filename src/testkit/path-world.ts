import { formatAddress, parseAddress } from '../ip/address.js';
import { contains, parseCidr } from '../ip/cidr.js';
import type { Endpoint } from '../linux/socket-address.js';
import { endpointKey } from '../network/paths/candidates.js';
import type { ProbeSource } from '../network/paths/path-events.js';
import { Paths } from '../network/paths/paths.js';
import type { Probe } from '../wire/probe.js';
import { SeededRandom } from './random.js';

/** The ranges inside the network, and the longest datagram that data makes there. */
export const INSIDE = [parseCidr('10.77.0.0/16')!, parseCidr('fd77::/64')!];
export const DATA_LENGTH = 1312;

export const at = (address: string, port: number): Endpoint => ({ address: parseAddress(address)!, port });

export interface SiteOptions {
  /** Its hosts have addresses in here. Without it they are on the internet themselves. */
  readonly lan?: string;
  /** Of its NAT: the public address. */
  readonly wan?: string;
  /** A port of its own for every destination: symmetric. */
  readonly hard?: boolean;
  /** The longest datagram that its line carries, bytes; loses others without a word. */
  readonly carries?: number;
  /** No UDP comes in or goes out. */
  readonly blocked?: boolean;
}

interface Site extends SiteOptions {
  /** By inner socket, and destination where it is hard: the outer port. */
  readonly mappings: Map<string, number>;
  /** Outer port: whose it is, and who may answer. */
  readonly open: Map<number, { readonly host: PathHost; readonly allowed: Set<string> }>;
  nextPort: number;
}

/** A node's machine for paths, on a host at some site. */
export interface PathHost {
  readonly id: number;
  readonly paths: Paths;
  readonly site: Site;
  /** Its socket. Change it to move the host to another address. */
  own: Endpoint;
  /** What data goes to, by peer: a text, or `relay`; in their order. */
  readonly used: { readonly peer: number; readonly via: string; readonly at: number }[];
  /** Answers to pings that were asked for, by token. */
  readonly answers: Map<number, number | undefined>;
  /** Probes sent, whatever became of them. */
  sent: { readonly to: string; readonly probe: Probe; readonly at: number }[];
}

/** Sites behind NATs (filtering by address and port), a relay, and a clock that moves only when told to. */
export class PathWorld {
  now = 1_000;
  relayWorks = true;
  /** Milliseconds, one way. */
  delays = { lan: 0.2, internet: 15, relay: 30 };
  /** Of 100 datagrams, so many are lost; through the relay too. */
  loss = 0;
  readonly hosts: PathHost[] = [];
  readonly #random: SeededRandom;
  #agenda: { readonly at: number; readonly run: () => void }[] = [];

  constructor(seed = 1) {
    this.#random = new SeededRandom(seed);
  }

  site(options: SiteOptions = {}): Site {
    return { ...options, mappings: new Map(), open: new Map(), nextPort: 50_000 };
  }

  /** Places a node; it knows all that are there already, and they know it. */
  host(site: Site, address: string): PathHost {
    const crypto = { random: (out: Uint8Array) => this.#fill(out) };
    const paths = new Paths({ crypto, inside: INSIDE, dataLength: DATA_LENGTH });
    const host: PathHost = {
      id: this.hosts.length + 1,
      paths,
      site,
      own: at(address, 41_641),
      used: [],
      answers: new Map(),
      sent: [],
    };
    for (const other of this.hosts) {
      other.paths.addPeer(host.id, undefined, this.now);
      paths.addPeer(other.id, undefined, this.now);
    }
    this.hosts.push(host);
    paths.setRelay(this.relayWorks, 'the hub is away', this.now);
    this.announce(host);
    return host;
  }

  /** Tells a host where it is: its own address, and the one that the relay sees. */
  announce(host: PathHost): void {
    const seen = host.site.blocked ? undefined : this.#translate(host, at('203.0.113.99', 443));
    const own =
      seen === undefined || endpointKey(seen) === endpointKey(host.own) ? [host.own] : [seen, host.own];
    host.paths.setOwn(own, this.now);
    this.settle();
  }

  setRelay(works: boolean): void {
    this.relayWorks = works;
    for (const { paths } of this.hosts) paths.setRelay(works, works ? '' : 'the hub is away', this.now);
    this.settle();
  }

  /** Two hosts exchange packets from now on, as often as a shell would notice. */
  traffic(a: PathHost, b: PathHost, milliseconds: number): void {
    for (const end = this.now + milliseconds; this.now < end; ) {
      a.paths.handleActivity(b.id, this.now);
      b.paths.handleActivity(a.id, this.now);
      this.settle();
      this.run(Math.min(250, end - this.now));
    }
  }

  /** Where a host sends a peer's data now. */
  via(host: PathHost, peer: PathHost): string {
    return host.used.findLast((use) => use.peer === peer.id)?.via ?? 'nowhere';
  }

  run(milliseconds: number): void {
    const end = this.now + milliseconds;
    this.settle();
    for (;;) {
      const timeout = Math.min(...this.hosts.map(({ paths }) => paths.nextTimeout()));
      const next = Math.min(timeout, this.#agenda[0]?.at ?? Infinity);
      if (next > end) break;
      this.now = Math.max(this.now, next);
      if ((this.#agenda[0]?.at ?? Infinity) <= this.now) this.#agenda.shift()!.run();
      for (const { paths } of this.hosts) paths.handleTimeout(this.now);
      this.settle();
    }
    this.now = end;
  }

  /** Carries out what the machines want. */
  settle(): void {
    for (const host of this.hosts) {
      for (let event = host.paths.poll(); event; event = host.paths.poll()) {
        if (event.kind === 'answer') host.answers.set(event.token, event.rtt);
        else if (event.kind === 'use')
          host.used.push({
            peer: event.peer,
            via: event.endpoint === undefined ? 'relay' : endpointKey(event.endpoint),
            at: this.now,
          });
        else this.#send(host, event.peer, event.probe, event.to);
      }
    }
  }

  /** Delivers a probe as if it came from somewhere: what an attacker can do with one that he has seen. */
  inject(to: PathHost, from: PathHost, probe: Probe, remote: Endpoint): void {
    to.paths.handleProbe(from.id, probe, { remote, relayPeer: 0 }, this.now);
    this.settle();
  }

  #send(from: PathHost, peer: number, probe: Probe, to: Endpoint | undefined): void {
    from.sent.push({ to: to === undefined ? 'relay' : endpointKey(to), probe, at: this.now });
    if (this.#random.below(100) < this.loss) return;
    const length = (probe.type === 'ping' ? probe.length : undefined) ?? 200;
    if (to === undefined) {
      const host = this.hosts.find(({ id }) => id === peer);
      if (!this.relayWorks || host === undefined) return;
      const source: ProbeSource = { remote: at('203.0.113.99', 443), relayPeer: from.id };
      this.#later(this.delays.relay, () => host.paths.handleProbe(from.id, probe, source, this.now));
      return;
    }
    const { site } = from;
    if (site.lan !== undefined && contains(parseCidr(site.lan)!, to.address)) {
      const host = this.hosts.find(
        (other) => other.site === site && endpointKey(other.own) === endpointKey(to),
      );
      this.#deliver(host, from, probe, from.own, this.delays.lan);
      return;
    }
    if (site.blocked || length > (site.carries ?? Infinity)) return;
    const source = this.#translate(from, to);
    for (const target of this.hosts) {
      if (target.site.blocked || length > (target.site.carries ?? Infinity)) continue;
      if (target.site.wan === undefined) {
        if (target.site.lan === undefined && endpointKey(target.own) === endpointKey(to))
          this.#deliver(target, from, probe, source, this.delays.internet);
      } else if (formatAddress(to.address) === target.site.wan) {
        const entry = target.site.open.get(to.port);
        if (entry?.host !== target || !entry.allowed.has(endpointKey(source))) continue;
        this.#deliver(target, from, probe, source, this.delays.internet);
      }
    }
  }

  /** What a datagram's source is, once it has left the site. */
  #translate(host: PathHost, to: Endpoint): Endpoint {
    const { site } = host;
    if (site.wan === undefined) return host.own;
    const key = endpointKey(host.own) + (site.hard ? endpointKey(to) : '');
    const port = site.mappings.get(key) ?? site.nextPort++;
    site.mappings.set(key, port);
    const entry = site.open.get(port) ?? { host, allowed: new Set<string>() };
    entry.allowed.add(endpointKey(to));
    site.open.set(port, entry);
    return at(site.wan, port);
  }

  #deliver(to: PathHost | undefined, from: PathHost, probe: Probe, source: Endpoint, delay: number): void {
    if (to === undefined) return;
    this.#later(delay, () =>
      to.paths.handleProbe(from.id, probe, { remote: source, relayPeer: 0 }, this.now),
    );
  }

  #later(delay: number, run: () => void): void {
    const entry = { at: this.now + delay, run };
    let i = this.#agenda.length;
    while (i > 0 && this.#agenda[i - 1]!.at > entry.at) i--;
    this.#agenda.splice(i, 0, entry);
  }

  #fill(out: Uint8Array): void {
    for (let i = 0; i < out.length; i++) out[i] = this.#random.below(256);
  }
}
