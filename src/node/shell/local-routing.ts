import { formatAddress } from '../../ip/address.js';
import { covers, formatCidr } from '../../ip/cidr.js';
import { findLink } from '../../linux/net/link.js';
import { listAllRoutes, RTN } from '../../linux/net/route.js';
import { listRules } from '../../linux/net/rule.js';
import { type RouteKind, type Routing, SPECIAL } from '../machine/ranges.js';

/**
 * The routes of all tables and the rules that choose between them: those of other VPNs are often in tables of their
 * own. What is on the loopback or link-local does not count, nor do broadcasts.
 *
 * @param ownDevice the network's own device, whose routes are not counted; it need not exist
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
