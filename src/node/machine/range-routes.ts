import { formatAddress, type IpAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, contains, covers, overlap } from '../../ip/cidr.js';
import type { LocalRoute } from './ranges.js';

/*
 * Routes members into the tunnel, even in a LAN that uses the network's own range.
 *
 * The range is one route with a high metric. Of two routes to the same network the kernel takes the one with the lower
 * metric, and routes of network managers have lower ones. So a LAN with the same range works from the first moment. Where
 * a LAN overlaps the range, each member has its own route, except at addresses that the LAN needs.
 */

/** Higher than the metrics that network managers use, even for links without connectivity. */
export const RANGE_METRIC = 1_000_000;

/** A route into the tunnel, without a gateway. */
export interface PlannedRoute {
  readonly destination: Cidr;
  /** The kernel chooses one if not given. */
  readonly metric?: number | undefined;
}

export interface RangeMember {
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface RangeSurroundings {
  /** Routes of other interfaces. */
  readonly routes: readonly LocalRoute[];
  /** What must be reached outside the tunnel: gateways, name servers, the hub. */
  readonly needed: readonly IpAddress[];
}

export interface RangePlan {
  readonly routes: readonly PlannedRoute[];
  /** The members that are not reached. */
  readonly warnings: readonly string[];
}

/** @param range of the network: IPv4 or IPv6 */
export function planRange(range: Cidr, members: Iterable<RangeMember>, around: RangeSurroundings): RangePlan {
  const whole: PlannedRoute = { destination: range, metric: RANGE_METRIC };
  const needed = new Map(
    around.needed
      .filter((address) => contains(range, address))
      .map((address) => [formatAddress(address), 'must be reached outside the network']),
  );
  // A wider route yields to the range, unless this machine needs an address in the range.
  const met = around.routes.filter(
    ({ destination }) =>
      overlap(range, destination) && (destination.prefix >= range.prefix || needed.size > 0),
  );
  if (met.length === 0) return { routes: [whole], warnings: [] };
  for (const { destination, local } of met) {
    if (local) needed.set(formatAddress(destination.address), 'is an address of this machine');
  }
  const routes: PlannedRoute[] = met.some(({ destination }) => covers(destination, range)) ? [] : [whole];
  const warnings: string[] = [];
  for (const { name, ipv4, ipv6 } of members) {
    const text = range.address.length === 4 ? ipv4 : ipv6;
    const address = parseAddress(text);
    if (address === undefined || !met.some(({ destination }) => contains(destination, address))) continue;
    const why = needed.get(formatAddress(address));
    if (why === undefined) routes.push({ destination: { address, prefix: address.length * 8 } });
    else warnings.push(`${name} cannot be reached at ${text}: that address ${why}`);
  }
  return { routes, warnings };
}
