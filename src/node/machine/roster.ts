import { type IpAddress, parseAddress } from '../../ip/address.js';
import type { Cidr } from '../../ip/cidr.js';
import type { Endpoint } from '../../ip/endpoint.js';
import { nameServers } from '../../linux/net/name-servers.js';
import type { Log } from '../../log.js';
import type { MapChange } from '../../protocol/map.js';
import { WallClock } from '../../wall-clock.js';
import type { LocalNames } from '../names/local-names.js';
import type { OwnHost } from '../shell/own-host.js';
import type { PeerTable } from '../shell/peer-table.js';
import type { StoredNode } from '../shell/state.js';
import { searched } from './hub-addresses.js';
import type { KnownNames } from './known-names.js';
import type { MemberChecks } from './members.js';
import type { PathDriver } from './paths/path-driver.js';
import { Shares } from './shares.js';

/** How long changes of names are collected, milliseconds. */
const NAMES_DELAY = 20;

export interface RosterOptions {
  /** This node, as it is now. */
  readonly node: () => StoredNode;
  /** Where the hub was reached last; undefined: it was not. */
  readonly hubAddress: () => IpAddress | undefined;
  /** The network's own ranges. */
  readonly ranges: readonly Cidr[];
  readonly checks: MemberChecks;
  readonly table: PeerTable;
  readonly driver: PathDriver;
  readonly host: OwnHost;
  readonly known: KnownNames;
  /** What this node is called, after a change of the map. */
  readonly onOwnName: (name: string) => void;
  readonly log: Log;
}

/** The members, and what follows from there being such: peers of the device, paths to them, routes, names. */
export class Roster {
  readonly #options: RosterOptions;
  readonly #shares: Shares;
  readonly #clock = new WallClock();
  #names: LocalNames | undefined;
  #namesTimer: NodeJS.Timeout | undefined;

  constructor(options: RosterOptions) {
    const { node, checks, table, host } = options;
    this.#options = options;
    this.#shares = new Shares(node().device, checks, table, host);
  }

  get names(): LocalNames | undefined {
    return this.#names;
  }

  warnings(): string[] {
    const { checks, host, known } = this.#options;
    const names = Array.from(checks.all(), ({ name }) => name);
    return [
      ...checks.warnings(),
      ...known.warnings(names, this.#now()),
      ...host.warnings(),
      ...this.#shares.warnings(),
    ];
  }

  /** Milliseconds since 1970. */
  #now(): number {
    const step = this.#clock.step();
    if (step !== undefined) {
      this.#options.known.move(step);
      this.#clock.adopt(step);
    }
    return this.#clock.now();
  }

  /** @param endpointOf where somebody answered last, by id */
  apply(change: MapChange, endpointOf: (id: number) => Endpoint | undefined = () => undefined): void {
    const { checks, table, driver, known, onOwnName, log } = this.#options;
    const { added, changed, removed } = checks.apply(change);
    for (const { id } of removed) {
      driver.remove(id);
      table.remove(id);
    }
    for (const member of added) {
      try {
        table.add(member);
      } catch (error) {
        log.error(`${member.name}: ${(error as Error).message}`);
        continue;
      }
      driver.add(member, endpointOf(member.id));
    }
    const now = this.#now();
    for (const { name, key } of [...added, ...changed]) known.meet(name, key, now);
    onOwnName(checks.ownName);
    if (added.length + changed.length + removed.length === 0) return;
    this.route();
    table.commit();
    this.nameSoon();
    driver.settle();
  }

  /** Soon: a network that grows by thousands is not sorted anew for each. */
  nameSoon(): void {
    this.#namesTimer ??= setTimeout(() => this.#nameAll(), NAMES_DELAY);
  }

  /** Routes what the others share, as far as that suits this machine as it is now. */
  route(): void {
    const { node, ranges, table, driver } = this.#options;
    this.#shares.route(node().shares, this.#hubs(), this.#nameServers());
    driver.setInside([...ranges, ...table.routed()]);
  }

  /** What must be reached outside of the tunnel. */
  outside(): IpAddress[] {
    return [...this.#hubs(), ...this.#nameServers()];
  }

  /** Lets the others reach what this node shares. */
  forward(): void {
    const { shares, you } = this.#options.node();
    this.#shares.forward(shares, you.shares);
  }

  /** From now on they are found by name, too. */
  useNames(names: LocalNames): void {
    this.#names = names;
    this.#nameAll();
  }

  /** Does not wait until more names have changed. */
  nameNow(): void {
    if (this.#namesTimer !== undefined) this.#nameAll();
  }

  /** Takes back names. Peers and routes go with the device. */
  stop(): void {
    clearTimeout(this.#namesTimer);
    try {
      this.#names?.stop();
    } catch (error) {
      this.#options.log.error((error as Error).message);
    }
  }

  /** Where the hub was reached last, or all addresses that are known. */
  #hubs(): IpAddress[] {
    const { node, hubAddress } = this.#options;
    const address = hubAddress();
    return address === undefined
      ? searched(node().hub).flatMap(({ host }) => parseAddress(host) ?? [])
      : [address];
  }

  #nameServers(): IpAddress[] {
    const upstreams = (this.#names?.upstreams() ?? []).flatMap((text) => parseAddress(text) ?? []);
    return [...upstreams, ...nameServers()];
  }

  #nameAll(): void {
    clearTimeout(this.#namesTimer);
    this.#namesTimer = undefined;
    const { node, checks } = this.#options;
    const { name, ipv4, ipv6 } = node().you;
    const own = ipv4 === undefined || ipv6 === undefined ? [] : [{ name, ipv4, ipv6 }];
    this.#names?.set([...own, ...checks.all()]);
  }
}
