import { formatAddress, type IpAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, contains, covers, overlap } from '../../ip/cidr.js';
import type { LocalRoute } from './ranges.js';

/*
 * How the members are routed into the tunnel, also in a LAN that uses the network's own range.
 *
 * The range itself is one route that gives way: of two routes to the same network the one with the lower metric counts,
 * and every network manager's is lower. So a LAN with the same range works from the first moment. What of the range such a LAN
 * has then, too, is routed member by member, except for addresses that the LAN cannot do without.
 */

/** Higher than what network managers take for a link, and for one that they found to lead nowhere. */
export const RANGE_METRIC = 1_000_000;

/** A route into the tunnel, without a gateway. */
export interface PlannedRoute {
  readonly destination: Cidr;
  /** The kernel's choice if not given. */
  readonly metric?: number | undefined;
}

export interface RangeMember {
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface RangeSurroundings {
  /** Of other devices. */
  readonly routes: readonly LocalRoute[];
  /** What must be reached outside of the tunnel: gateways, name servers, the hub. */
  readonly needed: readonly IpAddress[];
}

export interface RangePlan {
  readonly routes: readonly PlannedRoute[];
  /** Who is not reached. */
  readonly warnings: readonly string[];
  /** Whether members have routes of their own, so that other members need other routes. */
  readonly isAroundOthers: boolean;
}

/** @param range one of the network's */
export function planRange(range: Cidr, members: Iterable<RangeMember>, around: RangeSurroundings): RangePlan {
  const whole: PlannedRoute = { destination: range, metric: RANGE_METRIC };
  const needed = new Map(
    around.needed
      .filter((address) => contains(range, address))
      .map((address) => [formatAddress(address), 'must be reached outside of the network']),
  );
  // A wider route gives way to the range, unless something in there is needed.
  const met = around.routes.filter(
    ({ destination }) =>
      overlap(range, destination) && (destination.prefix >= range.prefix || needed.size > 0),
  );
  if (met.length === 0) return { routes: [whole], warnings: [], isAroundOthers: false };
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
    else warnings.push(`${name} is not reached at ${text}: that address ${why}`);
  }
  return { routes, warnings, isAroundOthers: true };
}
