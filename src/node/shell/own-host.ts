import type { LametunError } from '../../errors.js';
import type { IpAddress } from '../../ip/address.js';
import { type Cidr, formatCidr } from '../../ip/cidr.js';
import { LinuxError } from '../../linux/ffi/errno.js';
import type { DesiredDevice, DesiredHost, DesiredRoute } from '../../linux/host/desired.js';
import { Host } from '../../linux/host/host.js';
import type { Log } from '../../log.js';
import { rangeObstacles } from '../machine/range-obstacles.js';
import { planRange, type RangeMember, type RangePlan } from '../machine/range-routes.js';
import { localRoutes, localRouting } from '../machine/ranges.js';

export interface OwnHostOptions {
  /** The network interface, which exists. */
  readonly device: string;
  readonly log: Log;
  /** The network's own. */
  readonly ranges: readonly Cidr[];
  readonly members: () => Iterable<RangeMember>;
  /** What must be reached outside of the tunnel: the hub, name servers. */
  readonly needed: () => readonly IpAddress[];
  /** This machine has other routes than before, not counting the network's own. */
  readonly onRoutes: () => void;
}

/** What a node wants of its machine, put together from what its parts want. */
export class OwnHost {
  readonly #options: OwnHostOptions;
  readonly #host: Host;
  #device: Omit<DesiredDevice, 'routes'> | undefined;
  #shares: readonly Cidr[] = [];
  #destinations: readonly Cidr[] = [];
  #range: RangePlan = { routes: [], warnings: [], isAroundOthers: false };
  #routesText: string | undefined;

  constructor(options: OwnHostOptions) {
    const { device, log } = options;
    this.#options = options;
    this.#host = new Host({ device, desired: () => this.#desired(), tell: (message) => log.error(message) });
  }

  /** Sets the device up. */
  configure(device: Omit<DesiredDevice, 'routes'>): void {
    this.#device = device;
    this.#host.reconcile();
  }

  /** Routes these networks into the tunnel, and no others but the network's own. To be called when members change, too. */
  route(shares: readonly Cidr[]): void {
    const isSame = shares.map(formatCidr).join() === this.#shares.map(formatCidr).join();
    this.#shares = shares;
    if (!isSame || this.#range.isAroundOthers) this.#host.reconcile();
  }

  /** Lets others reach these networks behind this machine, and nothing else there. */
  forward(destinations: readonly Cidr[]): void {
    this.#destinations = destinations;
    this.#host.reconcile();
  }

  /** Why something could not be set. */
  get failure(): LametunError | undefined {
    return this.#host.failure;
  }

  warnings(): string[] {
    return [...this.#range.warnings, ...this.#host.warnings()];
  }

  /** Gives back what was there. The device is closed first: what protects may go then. @throws LametunError */
  stop(): void {
    this.#host.stop();
  }

  #desired(): DesiredHost {
    const forwarding = { destinations: this.#destinations };
    if (this.#device === undefined) return { forwarding };
    this.#look();
    const { addresses } = this.#device;
    const hasFamily = ({ destination }: DesiredRoute): boolean =>
      addresses.some(({ address }) => address.length === destination.address.length);
    const routes = [...this.#shares.map((destination) => ({ destination })), ...this.#range.routes].filter(
      hasFamily,
    );
    return { forwarding, device: { ...this.#device, routes } };
  }

  /** Looks what other networks there are here, and how to route around them. */
  #look(): void {
    const { device, ranges, members, needed, onRoutes } = this.#options;
    try {
      const routing = localRouting(device);
      const gateways = routing.routes.flatMap(({ gateway }) => gateway ?? []);
      const around = { routes: localRoutes(routing), needed: [...gateways, ...needed()] };
      const plans = ranges.map((range) => planRange(range, members(), around));
      const { refusals, warnings } = rangeObstacles(ranges, routing);
      this.#range = {
        routes: plans.flatMap((plan) => plan.routes),
        isAroundOthers: plans.some((plan) => plan.isAroundOthers),
        warnings: [
          ...refusals.map(
            (why) => `The network's addresses are in use here, so some members may not be reached: ${why}`,
          ),
          ...warnings,
          ...plans.flatMap((plan) => plan.warnings),
        ],
      };
      const text = around.routes.map(({ name }) => name).join('\n');
      if (this.#routesText !== undefined && text !== this.#routesText) setImmediate(onRoutes);
      this.#routesText = text;
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error; // the next look may do better
    }
  }
}
