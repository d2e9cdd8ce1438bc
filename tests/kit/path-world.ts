import { formatAddress, parseAddress } from '../../src/ip/address.js';
import { contains, parseCidr } from '../../src/ip/cidr.js';
import type { Endpoint } from '../../src/ip/endpoint.js';
import { endpointKey } from '../../src/node/machine/paths/candidates.js';
import type { PathEvent, ProbeSource } from '../../src/node/machine/paths/path-events.js';
import { Paths } from '../../src/node/machine/paths/paths.js';
import type { Probe } from '../../src/protocol/probe.js';
import { Nat, type NatKind } from './nat-model.js';
import { SeededRandom } from './random.js';

/** The ranges inside the network, and the longest datagram with data, bytes. */
export const INSIDE = [parseCidr('10.77.0.0/16')!, parseCidr('fd77::/64')!];
export const DATA_LENGTH = 1312;

export const at = (address: string, port: number): Endpoint => ({ address: parseAddress(address)!, port });

type ProbeEvent = Extract<PathEvent, { kind: 'probe' }>;

/** The number of hops that a datagram needs to cross the internet. */
const INTERNET = 8;

export interface SiteOptions {
  /** The range of its hosts' addresses. Without it the hosts are on the internet. */
  readonly lan?: string;
  /** Its public address. */
  readonly wan?: string;
  /** Its router. Default: `easy` with a `lan`, otherwise none. */
  readonly nat?: NatKind;
  /** The carrier's NAT in front of its router. */
  readonly carrier?: NatKind;
  /** The longest datagram that its line carries, bytes. Longer ones are lost silently. */
  readonly carries?: number;
  /** Blocks UDP in both directions. */
  readonly blocked?: boolean;
}

interface Site extends SiteOptions {
  /** From the innermost to the outermost. */
  readonly routers: readonly Nat[];
}

/** A node's path machine, on a host at a site. */
export interface PathHost {
  readonly id: number;
  readonly paths: Paths;
  readonly site: Site;
  /** Its socket. Change it to move the host to another address. */
  own: Endpoint;
  /** The paths chosen for data, in order: an endpoint as text, or `relay`. */
  readonly used: { readonly peer: number; readonly via: string; readonly at: number }[];
  /** Round-trip times of requested pings, by token. */
  readonly answers: Map<number, number | undefined>;
  /** All probes sent, including lost ones. */
  sent: { readonly to: string; readonly probe: Probe; readonly hops: number; readonly at: number }[];
}

/** Sites behind NATs, a relay, and a virtual clock. */
export class PathWorld {
  now = 1_000;
  relayWorks = true;
  /** Milliseconds, one way. */
  delays = { lan: 0.2, internet: 15, relay: 30 };
  /** The fraction by which a delay may be longer. */
  jitter = 0;
  /** The percentage of datagrams that are lost, relayed ones included. */
  loss = 0;
  readonly hosts: PathHost[] = [];
  readonly #random: SeededRandom;
  #agenda: { readonly at: number; readonly run: () => void }[] = [];

  constructor(seed = 1) {
    this.#random = new SeededRandom(seed);
  }

  site(options: SiteOptions = {}): Site {
    const { lan, wan, carrier } = options;
    const nat = options.nat ?? (lan === undefined ? undefined : 'easy');
    const routers: Nat[] = [];
    if (nat !== undefined) routers.push(new Nat(nat, carrier === undefined ? wan : '100.64.3.2'));
    if (carrier !== undefined) routers.push(new Nat(carrier, wan));
    return { ...options, routers };
  }

  /** Adds a node at a site. It and all nodes before it are peers. */
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

  /** Tells a host its own endpoints: its local one, and the one that the relay sees. */
  announce(host: PathHost, isComplete = true): void {
    const seen = host.site.blocked ? undefined : this.#leave(host, at('203.0.113.99', 443));
    const own =
      seen === undefined || endpointKey(seen) === endpointKey(host.own) ? [host.own] : [seen, host.own];
    host.paths.setOwn(own, isComplete, this.now);
    this.settle();
  }

  setRelay(works: boolean): void {
    this.relayWorks = works;
    for (const { paths } of this.hosts) paths.setRelay(works, works ? '' : 'the hub is away', this.now);
    this.settle();
  }

  /** Lets two hosts exchange packets, reported as often as a shell would report them. */
  traffic(a: PathHost, b: PathHost, milliseconds: number): void {
    for (const end = this.now + milliseconds; this.now < end; ) {
      a.paths.handleActivity(b.id, this.now);
      b.paths.handleActivity(a.id, this.now);
      this.settle();
      this.run(Math.min(250, end - this.now));
    }
  }

  /** The path on which a host sends data to a peer now. */
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

  /** Performs the machines' pending events. */
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
        else this.#send(host, event);
      }
    }
  }

  /** Delivers a probe from any endpoint, as an attacker who recorded one could. */
  inject(to: PathHost, from: PathHost, probe: Probe, remote: Endpoint): void {
    to.paths.handleProbe(from.id, probe, { remote, relayPeer: 0 }, this.now);
    this.settle();
  }

  #send(from: PathHost, { peer, probe, to, hops = Infinity }: ProbeEvent): void {
    from.sent.push({ to: to === undefined ? 'relay' : endpointKey(to), probe, hops, at: this.now });
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
    const source = this.#leave(from, to, hops);
    if (source === undefined || hops < INTERNET) return;
    this.#later(this.delays.internet, () => {
      const host = this.#arrive(source, to);
      if (host !== undefined && !host.site.blocked && length <= (host.site.carries ?? Infinity))
        this.#deliver(host, from, probe, source, 0);
    });
  }

  /** The source endpoint of a datagram outside the site; undefined when its hops run out before. */
  #leave({ own, site }: PathHost, to: Endpoint, hops = Infinity): Endpoint | undefined {
    let source = own;
    for (const [i, router] of site.routers.entries()) {
      if (hops <= i + 1) return undefined;
      source = router.out(source, to, this.now);
    }
    return source;
  }

  /** The host that receives a datagram from the internet, if any. */
  #arrive(source: Endpoint, to: Endpoint): PathHost | undefined {
    const site = this.hosts.find(
      (host) => (host.site.wan ?? formatAddress(host.own.address)) === formatAddress(to.address),
    )?.site;
    let place: Endpoint | undefined = to;
    for (const router of [...(site?.routers ?? [])].reverse())
      place = place && router.in(source, place, this.now);
    return (
      place && this.hosts.find((host) => host.site === site && endpointKey(host.own) === endpointKey(place))
    );
  }

  #deliver(to: PathHost | undefined, from: PathHost, probe: Probe, source: Endpoint, delay: number): void {
    if (to === undefined) return;
    this.#later(delay, () =>
      to.paths.handleProbe(from.id, probe, { remote: source, relayPeer: 0 }, this.now),
    );
  }

  #later(delay: number, run: () => void): void {
    const entry = { at: this.now + delay * (1 + this.#random.fraction() * this.jitter), run };
    let i = this.#agenda.length;
    while (i > 0 && this.#agenda[i - 1]!.at > entry.at) i--;
    this.#agenda.splice(i, 0, entry);
  }

  #fill(out: Uint8Array): void {
    for (let i = 0; i < out.length; i++) out[i] = this.#random.below(256);
  }
}
