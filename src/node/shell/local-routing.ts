import { usage } from '../../errors.js';
import { formatAddress } from '../../ip/address.js';
import { covers, formatCidr, parseCidr } from '../../ip/cidr.js';
import { findLink } from '../../linux/net/link.js';
import { listAllRoutes, RTN } from '../../linux/net/route.js';
import { listRules } from '../../linux/net/rule.js';
import { rangeObstacles } from '../machine/range-obstacles.js';
import { checkOwnShare, localRoutes, type RouteKind, type Routing, SPECIAL } from '../machine/ranges.js';

/**
 * Checks networks that a member wants to share.
 *
 * @param device the member's interface, whose routes do not count; it need not exist
 * @param ranges of the member's network
 * @throws LametunError `usage` when one is not a network, is not reachable from here, or overlaps a range
 */
export function checkShares(device: string, shares: readonly string[], ranges: readonly string[]): void {
  if (shares.length === 0) return;
  const routes = localRoutes(localRouting(device));
  const parsed = ranges.flatMap((range) => parseCidr(range) ?? []);
  for (const share of shares) checkOwnShare(share, routes, parsed);
}

/**
 * Checks the range of a new network.
 *
 * @param device the interface for it, whose routes do not count; it need not exist
 * @throws LametunError `usage` when it is in use here
 */
export function checkRange(device: string, range: string): void {
  const [why] = rangeObstacles([parseCidr(range)!], localRouting(device)).refusals;
  if (why !== undefined) throw usage(`--range ${range}: ${why}; choose another range`);
}

/**
 * The routes of all tables, and the rules that choose between tables: other VPNs often have tables of their own.
 * Loopback, link-local and broadcast routes do not count.
 *
 * @param ownDevice an interface whose routes do not count; it need not exist
 */
export function localRouting(ownDevice?: string): Routing {
  const own = ownDevice === undefined ? undefined : findLink(ownDevice)?.index;
  const names = new Map<number, string>();
  const nameOf = (index: number): string => {
    const name = names.get(index) ?? findLink(index)?.name ?? `number ${index}`;
    names.set(index, name);
    return name;
  };
  const routes = listAllRoutes().flatMap(({ destination, device, type, gateway, table }) => {
    const kind = KINDS[type];
    if (kind === undefined || (device !== undefined && device === own)) return [];
    if (SPECIAL.some((other) => covers(other, destination))) return [];
    const local = kind === 'local';
    const by = device === undefined || kind === 'dead-end' ? '' : ` dev ${nameOf(device)}`;
    const via = gateway === undefined ? '' : ` via ${formatAddress(gateway)}`;
    const to = destination.prefix === 0 ? 'default' : formatCidr(destination);
    const name = local
      ? `this machine's address ${formatAddress(destination.address)}${by}`
      : `the ${kind === 'dead-end' ? 'unreachable ' : ''}route ${to}${via}${by}`;
    return [{ destination, name, local, table, kind, gateway }];
  });
  return { routes, rules: listRules() };
}

const KINDS: Readonly<Record<number, RouteKind>> = {
  [RTN.unicast]: 'unicast',
  [RTN.local]: 'local',
  [RTN.blackhole]: 'dead-end',
  [RTN.unreachable]: 'dead-end',
  [RTN.prohibit]: 'dead-end',
  [RTN.throw]: 'throw',
};
