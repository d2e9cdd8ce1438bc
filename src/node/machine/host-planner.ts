import { type IpAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, contains, formatCidr, parseCidr } from '../../ip/cidr.js';
import type { NodeId } from '../../protocol/node-id.js';
import type { MemberChecks } from './members.js';
import { rangeObstacles } from './range-obstacles.js';
import { type PlannedRoute, planRange, type RangePlan } from './range-routes.js';
import { type LocalRoute, localRoutes, type Routing } from './ranges.js';
import type { StoredNode } from './stored.js';

/** The desired state of a node's machine. */
export interface HostPlan {
  /** Bytes. */
  readonly mtu: number;
  /** Of the interface; none until the node is approved. */
  readonly addresses: readonly Cidr[];
  /** Into the tunnel. */
  readonly routes: readonly PlannedRoute[];
  /** The networks behind this machine that other members may reach. */
  readonly forward: readonly Cidr[];
}

/** Plans the desired state of a node's machine from the members' shares, its own, and the routes that exist. */
export class HostPlanner {
  /** Whether the interface can have an IPv6 address. */
  hasIpv6 = true;
  #hostText = '';
  readonly #checks: MemberChecks;
  readonly #ranges: readonly Cidr[];
  /** Undefined while it is unknown: no share is routed. */
  #routing: Routing | undefined;
  #localRoutes: readonly LocalRoute[] = [];
  #nameServers: readonly IpAddress[] = [];
  #hubs: readonly IpAddress[] = [];
  /** Member's id by share. */
  #owners: ReadonlyMap<string, NodeId> = new Map();
  #forward: readonly string[] = [];
  #unoffered: readonly string[] = [];
  #rangePlans: readonly RangePlan[] = [];
  #obstacles: readonly string[] = [];

  constructor(checks: MemberChecks, ranges: readonly Cidr[]) {
    this.#checks = checks;
    this.#ranges = ranges;
  }

  /** @param routing without the interface's own routes @param nameServers this machine's */
  setRouting(routing: Routing, nameServers: readonly IpAddress[]): void {
    this.#routing = routing;
    this.#localRoutes = localRoutes(routing);
    this.#nameServers = nameServers;
    const { refusals, warnings } = rangeObstacles(this.#ranges, routing);
    this.#obstacles = [
      ...refusals.map(
        (why) => `Addresses of the network are in use here, so some members may be unreachable: ${why}`,
      ),
      ...warnings,
    ];
  }

  /**
   * @param hubs the address that the hub was reached at, or all that are known: one must stay outside the tunnel
   * @returns whether the routed shares or their owners have changed, and whether `hostPlan` has changed
   */
  plan(
    node: StoredNode,
    hubs: readonly IpAddress[],
  ): { readonly hasOtherShares: boolean; readonly hasOtherHost: boolean } {
    const { shares, you } = node;
    this.#hubs = hubs;
    this.#planForwarding(shares, you.shares);
    const owners = this.#planShares(shares);
    const hasOtherShares = textOf(owners) !== textOf(this.#owners);
    this.#owners = owners;
    const gateways = this.#routing?.routes.flatMap(({ gateway }) => gateway ?? []) ?? [];
    const around = { routes: this.#localRoutes, needed: [...gateways, ...hubs, ...this.#nameServers] };
    this.#rangePlans = this.#ranges.map((range) => planRange(range, this.#checks.all(), around));
    const hostText = hostPlanText(this.hostPlan(node));
    const hasOtherHost = hostText !== this.#hostText;
    this.#hostText = hostText;
    return { hasOtherShares, hasOtherHost };
  }

  /** Member's id, by routed share. */
  get owners(): ReadonlyMap<string, NodeId> {
    return this.#owners;
  }

  /** What is routed into the tunnel. */
  inside(): Cidr[] {
    return [...this.#ranges, ...networks(this.#owners.keys())];
  }

  /** From the last call of `plan`. */
  hostPlan({ network, you }: StoredNode): HostPlan {
    const addresses = this.#addresses(you);
    const hasFamily = ({ destination }: PlannedRoute): boolean =>
      addresses.some(({ address }) => address.length === destination.address.length);
    const shares = networks(this.#owners.keys()).map((destination): PlannedRoute => ({ destination }));
    const routes = [...shares, ...this.#rangePlans.flatMap((plan) => plan.routes)].filter(hasFamily);
    return { mtu: network.mtu, addresses, routes, forward: networks(this.#forward) };
  }

  warnings(): string[] {
    const unoffered = this.#unoffered.map(
      (network) =>
        `The hub approved the share ${network}, which this node does not offer: it is not forwarded`,
    );
    return [...this.#obstacles, ...this.#rangePlans.flatMap((plan) => plan.warnings), ...unoffered];
  }

  #addresses({ ipv4, ipv6 }: StoredNode['you']): Cidr[] {
    if (ipv4 === undefined || ipv6 === undefined) return [];
    const texts = this.hasIpv6 ? [ipv4, ipv6] : [ipv4];
    return texts.map((text, i) => ({ address: parseAddress(text)!, prefix: this.#ranges[i]!.prefix }));
  }

  /** Forwards the approved shares that this node offers, and nothing else, whatever the hub approves. */
  #planForwarding(own: readonly string[], offered: StoredNode['you']['shares']): void {
    const approved = offered.filter(({ state }) => state === 'approved').map(({ network }) => network);
    const wanted = new Set(networks(own).map(formatCidr)); // as the hub writes them
    this.#forward = approved.filter((network) => wanted.has(network));
    this.#unoffered = approved.filter((network) => !wanted.has(network));
  }

  #planShares(own: readonly string[]): Map<string, NodeId> {
    if (this.#routing === undefined) return new Map();
    const sharing = [...this.#checks.all()].filter(({ shares }) => shares.length > 0); // of thousands
    const shared = sharing.flatMap(({ shares }) => networks(shares));
    const isShared = (address: IpAddress): boolean => shared.some((share) => contains(share, address));
    const outside = this.#hubs.every(isShared) ? this.#hubs : [];
    return this.#checks.planShares({
      routes: this.#localRoutes,
      ownShares: networks(own),
      hosts: [...outside, ...this.#nameServers],
    });
  }
}

const networks = (texts: Iterable<string>): Cidr[] => [...texts].flatMap((text) => parseCidr(text) ?? []);
const textOf = (owners: ReadonlyMap<string, NodeId>): string => JSON.stringify([...owners]);

/** Equal plans have the same text. */
const hostPlanText = ({ mtu, addresses, routes, forward }: HostPlan): string =>
  JSON.stringify([
    mtu,
    addresses.map(formatCidr),
    routes.map(({ destination, metric }) => [formatCidr(destination), metric]),
    forward.map(formatCidr),
  ]);
