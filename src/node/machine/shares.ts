import type { IpAddress } from '../../ip/address.js';
import { type Cidr, contains, formatCidr, parseCidr } from '../../ip/cidr.js';
import type { OfferedShare } from '../../protocol/messages.js';
import type { OwnHost } from '../shell/own-host.js';
import type { PeerTable } from '../shell/peer-table.js';
import type { MemberChecks } from './members.js';
import { localRoutes, localRouting } from './ranges.js';

/** The networks behind nodes: those of others are routed into the tunnel, our own are forwarded out of it. */
export class Shares {
  readonly #device: string;
  readonly #checks: MemberChecks;
  readonly #table: PeerTable;
  readonly #host: OwnHost;
  #forwarded = '';
  #unasked: readonly string[] = [];

  constructor(device: string, checks: MemberChecks, table: PeerTable, host: OwnHost) {
    this.#device = device;
    this.#checks = checks;
    this.#table = table;
    this.#host = host;
  }

  /**
   * Routes what others share.
   *
   * @param own what this node offers itself
   * @param hubs the address at which the hub was reached last, or all that are known: one of them must stay outside
   * @param servers what else must be reached from outside of the tunnel
   */
  route(own: readonly string[], hubs: readonly IpAddress[], servers: readonly IpAddress[]): void {
    const shared = [...this.#checks.all()].flatMap(({ shares }) => networks(shares));
    const isShared = (address: IpAddress): boolean => shared.some((share) => contains(share, address));
    const outside = hubs.every(isShared) ? hubs : [];
    const plan = this.#checks.planShares({
      routes: shared.length === 0 ? [] : localRoutes(localRouting(this.#device)), // which takes a moment
      ownShares: networks(own),
      hosts: [...outside, ...servers],
    });
    this.#table.setShares(plan);
    this.#table.commit();
  }

  /**
   * Lets others reach what was approved of what this node offers, and nothing else behind this machine, whatever the
   * hub approves.
   *
   * @param own what this node offers
   */
  forward(own: readonly string[], shares: readonly OfferedShare[]): void {
    const all = shares.filter(({ state }) => state === 'approved').map(({ network }) => network);
    const offered = new Set(networks(own).map(formatCidr)); // as the hub writes them
    const approved = all.filter((network) => offered.has(network));
    this.#unasked = all.filter((network) => !offered.has(network));
    const text = approved.toSorted().join(' ');
    if (text === this.#forwarded) return;
    this.#forwarded = text;
    this.#host.forward(networks(approved));
  }

  warnings(): string[] {
    return this.#unasked.map(
      (network) =>
        `The hub approves that this node shares ${network}, which it does not offer: it is not reached`,
    );
  }
}

const networks = (texts: readonly string[]): Cidr[] => texts.flatMap((text) => parseCidr(text) ?? []);
