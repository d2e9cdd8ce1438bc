import { LametunError } from '../../errors.js';
import { formatAddress, type IpAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, contains, covers, formatCidr, PRIVATE } from '../../ip/cidr.js';
import { memberRange } from '../../protocol/layout.js';
import type { Membership, NetworkInfo } from '../../protocol/messages.js';
import { rangeObstacles } from './range-obstacles.js';
import { checkOwnShare, localRoutes, type Routing, rangesOf } from './ranges.js';

/** The widest range, in bits of prefix. Hubs choose a /15 and a /64. */
const WIDEST = { ipv4: 15, ipv6: 48 } as const;

/** What a joining machine has that the network must leave alone. */
export interface JoinSurroundings {
  readonly routing: Routing;
  /** Addresses at which the hub may be: at least one must stay outside the tunnel. */
  readonly hubs: readonly IpAddress[];
  /** Other addresses that must stay outside: name servers. */
  readonly hosts: readonly IpAddress[];
  /** The shares that it wants to offer. */
  readonly shares: readonly string[];
}

/**
 * Checks that this machine can be in a network: a hub's ranges become routes here.
 *
 * @throws LametunError `refused` if the ranges are in use here or not private; `usage` if a share does not fit
 */
export function checkNetwork(network: NetworkInfo, { routing, hubs, hosts, shares }: JoinSurroundings): void {
  const ranges = rangesOf(network);
  const isInside = (address: IpAddress): boolean => ranges.some((range) => contains(range, address));
  const outside = hubs.every(isInside) ? [...hubs, ...hosts] : hosts;
  const problems = ranges.flatMap((range) => rangeProblem(range, outside) ?? []);
  const why = [...problems, ...rangeObstacles(ranges, routing).refusals][0];
  if (why !== undefined)
    throw new LametunError(
      'refused',
      `this machine cannot be in the network ${network.name}: ${why}; remove the conflict, or create a network with another --range`,
    );
  for (const share of shares) checkOwnShare(share, localRoutes(routing), ranges);
}

function rangeProblem(range: Cidr, hosts: readonly IpAddress[]): string | undefined {
  const name = formatCidr(range);
  if (!PRIVATE.some((pool) => covers(pool, range))) return `${name} is not a private range`;
  const widest = range.address.length === 4 ? WIDEST.ipv4 : WIDEST.ipv6;
  if (range.prefix < widest) return `${name} is too wide: at most a /${widest}`;
  const host = hosts.find((address) => contains(range, address));
  return host && `${name} contains ${formatAddress(host)}, which must be reached outside the network`;
}

/**
 * Checks that the hub made this machine a member of the network of the invitation, with addresses in it. A pending node
 * has none yet.
 *
 * @throws LametunError `protocol`
 */
export function checkMembership(
  invited: NetworkInfo | undefined,
  network: NetworkInfo,
  { ipv4, ipv6 }: Membership,
): void {
  const isSame = (['id', 'name', 'ipv4', 'ipv6', 'mtu'] as const).every(
    (field) => invited?.[field] === network[field],
  );
  if (!isSame) throw new LametunError('protocol', 'the joined network is not the network of the invitation');
  if (ipv4 === undefined || ipv6 === undefined) return;
  const [range4, range6] = rangesOf(network);
  if (!contains(memberRange(range4), parseAddress(ipv4)!) || !contains(range6, parseAddress(ipv6)!))
    throw new LametunError('protocol', `the hub assigned addresses outside the network: ${ipv4}, ${ipv6}`);
}
