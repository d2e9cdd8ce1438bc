import { LametunError } from '../../errors.js';
import { formatAddress, type IpAddress } from '../../ip/address.js';
import {
  type Cidr,
  contains,
  covers,
  formatCidr,
  networkOf,
  overlap,
  parseCidr,
  standsForAll,
} from '../../ip/cidr.js';
import type { Rule } from '../../linux/net/routing.js';

/** A network that this machine reaches without lametun, or an address of its own. */
export interface LocalRoute {
  readonly destination: Cidr;
  /** As a message names it: `the route 10.0.0.0/8 dev eth0`. */
  readonly name: string;
  /** Whether it is an address of this machine. */
  readonly local: boolean;
}

/** A route of any table. */
export interface TableRoute extends LocalRoute {
  readonly table: number;
  readonly kind: RouteKind;
  readonly gateway: IpAddress | undefined;
}
/** `dead-end`: packets are refused; `throw`: the next routing rule decides. */
export type RouteKind = 'unicast' | 'local' | 'dead-end' | 'throw';

/** How packets find their way on this machine. */
export interface Routing {
  readonly routes: readonly TableRoute[];
  readonly rules: readonly Rule[];
}

/** The routes and addresses that a share can collide with. Default routes and dead ends do not count. */
export const localRoutes = ({ routes }: Pick<Routing, 'routes'>): LocalRoute[] =>
  routes.filter(
    ({ destination, kind }) => (kind === 'unicast' || kind === 'local') && !standsForAll(destination),
  );

/** @returns `10.7.0.0/24 collides with the route 10.0.0.0/8 dev eth0`, or undefined when nothing does */
function routeCollision(share: Cidr, routes: readonly LocalRoute[]): string | undefined {
  // The route says more than the address that came with it.
  const met = routes.filter(({ destination }) => overlap(share, destination));
  const found = met.find(({ local }) => !local) ?? met[0];
  return found && `${formatCidr(share)} collides with ${found.name}`;
}

/** What a share of another member is compared with. */
export interface ShareSurroundings {
  readonly routes: readonly LocalRoute[];
  /** What this node offers itself. */
  readonly ownShares: readonly Cidr[];
  /** The network's. */
  readonly ranges: readonly Cidr[];
  /** What must stay reachable outside of the tunnel: the hub's addresses, name servers. */
  readonly hosts: readonly IpAddress[];
}

/** The widest network that is taken for a share, in bits of prefix: everything beyond wants all traffic. */
const WIDEST_SHARE = { ipv4: 8, ipv6: 16 } as const;

/**
 * Why a share that another member offers must not be routed into the tunnel, whatever the hub says.
 *
 * @returns a reason to show, that names the share; undefined when it may be
 */
export function shareCollision(share: Cidr, around: ShareSurroundings): string | undefined {
  const name = formatCidr(share);
  const why = shareProblem(share);
  if (why !== undefined) return `${name} ${why}`;
  const range = around.ranges.find((other) => overlap(other, share));
  if (range !== undefined) return `${name} overlaps the network's own range ${formatCidr(range)}`;
  const own = around.ownShares.find((other) => overlap(other, share));
  if (own !== undefined) return `${name} overlaps ${formatCidr(own)}, which this machine shares itself`;
  const host = around.hosts.find((address) => contains(share, address));
  if (host !== undefined)
    return `${name} contains ${formatAddress(host)}, which must be reached from outside`;
  return routeCollision(share, around.routes);
}

/** What is wrong with a network as a share, wherever it is. */
function shareProblem(share: Cidr): string | undefined {
  if (formatCidr(networkOf(share)) !== formatCidr(share)) return 'has host bits set';
  const widest = share.address.length === 4 ? WIDEST_SHARE.ipv4 : WIDEST_SHARE.ipv6;
  if (share.prefix < widest) return `is too wide: at most a /${widest} can be shared`;
  return isSpecial(share) ? 'is not a network that others can reach' : undefined;
}

/** Loopback, link-local, multicast, reserved, IPv4-mapped: RFC 6890. */
export const SPECIAL: readonly Cidr[] = [
  ...['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'],
  ...['::/16', 'fe80::/10', 'ff00::/8'],
].flatMap((text) => parseCidr(text) ?? []);
const isSpecial = (network: Cidr): boolean => SPECIAL.some((other) => overlap(other, network));

/**
 * Reads a network that this machine shall share: `192.168.1.0/24`.
 *
 * @param routes `localRoutes` without those of the network's own device
 * @param ranges the network's
 * @throws LametunError `usage` when it is none, cannot be shared, or is not reached from here; says what to do
 */
export function parseShare(text: string, routes: readonly LocalRoute[], ranges: readonly Cidr[] = []): Cidr {
  const share = parseCidr(text);
  if (share === undefined) {
    throw new LametunError('usage', `"${text}" is not a network: write it as 192.168.1.0/24`);
  }
  const network = formatCidr(networkOf(share));
  if (network !== formatCidr(share)) {
    throw new LametunError('usage', `${text} is an address in a network: did you mean ${network}?`);
  }
  const problem = shareProblem(share);
  if (problem !== undefined) throw new LametunError('usage', `${text} cannot be shared: it ${problem}`);
  const range = ranges.find((other) => overlap(other, share));
  if (range !== undefined) {
    throw new LametunError(
      'usage',
      `${text} cannot be shared: it overlaps the network's own range ${formatCidr(range)}`,
    );
  }
  const reached = routes.some(
    ({ destination, local }) => covers(destination, share) || (!local && covers(share, destination)),
  );
  if (!reached) {
    throw new LametunError(
      'usage',
      `this machine has no route to ${network}: connect it to that network, or \`ip route add ${network} via ROUTER\``,
    );
  }
  return share;
}
