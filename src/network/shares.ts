import type { IpAddress } from '../ip/address.js';
import { type Cidr, contains, parseCidr } from '../ip/cidr.js';
import { type Forwarding, startForwarding } from '../linux/forwarding.js';
import type { OfferedShare } from '../wire/messages.js';
import type { MemberChecks } from './members.js';
import type { PeerTable } from './peer-table.js';
import { localRoutes } from './ranges.js';

/** The networks behind nodes: those of others are routed into the tunnel, our own are forwarded out of it. */
export class Shares {
  readonly #device: string;
  readonly #checks: MemberChecks;
  readonly #table: PeerTable;
  #forwarding: Forwarding | undefined;
  #forwarded: string | undefined;
  #warning: string | undefined;

  constructor(device: string, checks: MemberChecks, table: PeerTable) {
    this.#device = device;
    this.#checks = checks;
    this.#table = table;
  }

  /**
   * Routes what others share.
   *
   * @param own what this node offers itself
   * @param hub the address at which the hub was reached last; or all that are known: one of them must stay outside
   * @param servers what else must be reached from outside of the tunnel
   */
  route(own: readonly string[], hub: IpAddress | readonly IpAddress[], servers: readonly IpAddress[]): void {
    const shared = [...this.#checks.all()].flatMap(({ shares }) => networks(shares));
    const isShared = (address: IpAddress): boolean => shared.some((share) => contains(share, address));
    const hubs = hub instanceof Uint8Array ? [hub] : hub.every(isShared) ? hub : [];
    const plan =
      shared.length === 0
        ? new Map<string, number>()
        : this.#checks.planShares({
            routes: localRoutes(this.#device),
            ownShares: networks(own),
            hosts: [...hubs, ...servers],
          });
    this.#table.setShares(plan);
    this.#table.commit();
  }

  /**
   * Lets others reach what was approved of what this node offers, and nothing else behind this machine.
   *
   * @param again also when nothing has changed but this machine's routes
   */
  forward(shares: readonly OfferedShare[], again = false): void {
    const approved = shares.filter(({ state }) => state === 'approved').map(({ network }) => network);
    const text = approved.toSorted().join(' ');
    if (text === this.#forwarded && !again) return;
    this.#forwarded = text;
    const destinations = networks(approved);
    try {
      if (this.#forwarding === undefined)
        this.#forwarding = startForwarding({ device: this.#device, destinations });
      else this.#forwarding.update(destinations);
      this.#warning = undefined;
    } catch (error) {
      const what =
        approved.length > 0
          ? 'What this node shares cannot be reached'
          : 'It is not made sure that others reach nothing behind this machine';
      this.#warning = `${what}: ${(error as Error).message}`;
    }
  }

  warnings(): string[] {
    return this.#warning === undefined ? [] : [this.#warning];
  }

  /** Undoes the forwarding. @throws LametunError when something could not be undone */
  stop(): void {
    this.#forwarding?.stop();
  }
}

const networks = (texts: readonly string[]): Cidr[] => texts.flatMap((text) => parseCidr(text) ?? []);
