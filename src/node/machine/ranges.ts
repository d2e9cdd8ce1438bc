import { usage } from '../../errors.js';
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
  /** As messages name it: `the route 10.0.0.0/8 dev eth0`. */
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

/** How this machine routes packets. */
export interface Routing {
  readonly routes: readonly TableRoute[];
  readonly rules: readonly Rule[];
}

/** The network's ranges: IPv4 and IPv6. */
export const rangesOf = ({ ipv4, ipv6 }: { readonly ipv4: string; readonly ipv6: string }): [Cidr, Cidr] => [
  parseCidr(ipv4)!,
  parseCidr(ipv6)!,
];

/** The routes and addresses that a share can collide with: not default routes, not dead ends. */
export const localRoutes = ({ routes }: Pick<Routing, 'routes'>): LocalRoute[] =>
  routes.filter(
    ({ destination, kind }) => (kind === 'unicast' || kind === 'local') && !standsForAll(destination),
  );

/** What a share of another member must not overlap. */
export interface ShareSurroundings {
  readonly routes: readonly LocalRoute[];
  /** The shares that this node offers. */
  readonly ownShares: readonly Cidr[];
  /** The network's. */
  readonly ranges: readonly Cidr[];
  /** What must stay reachable outside the tunnel: the hub's addresses, name servers. */
  readonly hosts: readonly IpAddress[];
}

/** The widest share, in bits of prefix. A wider one would capture all traffic. */
const WIDEST_SHARE = { ipv4: 8, ipv6: 16 } as const;

/**
 * Why a share of another member must not be routed into the tunnel, whatever the hub says.
 *
 * @returns a reason that names the share; undefined if it may be routed
 */
export function shareCollision(share: Cidr, around: ShareSurroundings): string | undefined {
  const name = formatCidr(share);
  const why = shareProblem(share, around.ranges);
  if (why !== undefined) return `${name} ${why}`;
  const own = around.ownShares.find((other) => overlap(other, share));
  if (own !== undefined) return `${name} overlaps ${formatCidr(own)}, which this machine shares itself`;
  const host = around.hosts.find((address) => contains(share, address));
  if (host !== undefined)
    return `${name} contains ${formatAddress(host)}, which must be reached outside the network`;
  const met = around.routes.filter(({ destination }) => overlap(share, destination));
  const found = met.find(({ local }) => !local) ?? met[0]; // a route says more than its address
  return found && `${name} collides with ${found.name}`;
}

/** Why no node can share a network, if so. */
function shareProblem(share: Cidr, ranges: readonly Cidr[]): string | undefined {
  if (formatCidr(networkOf(share)) !== formatCidr(share)) return 'has host bits set';
  const widest = share.address.length === 4 ? WIDEST_SHARE.ipv4 : WIDEST_SHARE.ipv6;
  if (share.prefix < widest) return `is too wide: at most a /${widest} can be shared`;
  if (SPECIAL.some((other) => overlap(other, share))) return 'is not a network that others can reach';
  const range = ranges.find((other) => overlap(other, share));
  return range && `overlaps the network's own range ${formatCidr(range)}`;
}

/** Loopback, link-local, multicast, reserved, IPv4-mapped: RFC 6890. */
export const SPECIAL: readonly Cidr[] = [
  ...['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'],
  ...['::/16', 'fe80::/10', 'ff00::/8'],
].flatMap((text) => parseCidr(text) ?? []);

/**
 * Checks that this node can share a network, such as `192.168.1.0/24`.
 *
 * @param routes `localRoutes` without those of the network's own interface
 * @param ranges the network's
 * @throws LametunError `usage`
 */
export function checkOwnShare(text: string, routes: readonly LocalRoute[], ranges: readonly Cidr[]): void {
  const share = parseCidr(text);
  if (share === undefined) throw usage(`"${text}" is not a network: write it as 192.168.1.0/24`);
  const problem = shareProblem(share, ranges);
  if (problem !== undefined) throw usage(`${text} cannot be shared: it ${problem}`);
  const isReached = routes.some(
    ({ destination, local }) => covers(destination, share) || (!local && covers(share, destination)),
  );
  if (!isReached)
    throw usage(
      `this machine has no route to ${text}: connect it to that network, or \`ip route add ${text} via ROUTER\``,
    );
}
