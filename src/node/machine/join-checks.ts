import { LametunError } from '../../errors.js';
import { formatAddress, type IpAddress, parseAddress } from '../../ip/address.js';
import { type Cidr, contains, covers, formatCidr, parseCidr } from '../../ip/cidr.js';
import { memberRange } from '../../protocol/layout.js';
import type { Membership, NetworkInfo } from '../../protocol/messages.js';
import { rangeObstacles } from './range-obstacles.js';
import { localRoutes, parseShare, type Routing } from './ranges.js';

/** What a network's ranges may be from: RFC 1918 §3, RFC 6598, RFC 4193. All else is somebody's on the internet. */
const PRIVATE: readonly Cidr[] = [
  '10.0.0.0/8',
  '100.64.0.0/10',
  '172.16.0.0/12',
  '192.168.0.0/16',
  'fc00::/7',
].flatMap((text) => parseCidr(text) ?? []);
/** The widest range, in bits of prefix. Hubs choose a /15 and a /64. */
const WIDEST = { ipv4: 15, ipv6: 48 } as const;

/** What a joining machine has that its network must leave alone. */
export interface JoinSurroundings {
  readonly routing: Routing;
  /** Where the hub may be: one of these must stay outside of the tunnel. */
  readonly hubs: readonly IpAddress[];
  /** What else must: name servers. */
  readonly hosts: readonly IpAddress[];
  /** What it wants to share. */
  readonly shares: readonly string[];
}

/**
 * Whether this machine can be in a network: its ranges become routes here, by the word of whoever runs the hub.
 *
 * @throws LametunError `refused` when they are in use here, or no private ones; `usage` when a share does not fit
 */
export function checkNetwork(network: NetworkInfo, { routing, hubs, hosts, shares }: JoinSurroundings): void {
  const ranges = [parseCidr(network.ipv4)!, parseCidr(network.ipv6)!];
  const isInside = (address: IpAddress): boolean => ranges.some((range) => contains(range, address));
  const outside = hubs.every(isInside) ? [...hubs, ...hosts] : hosts;
  const { refusals } = rangeObstacles(ranges, routing);
  const why =
    ranges.map((range) => rangeProblem(range, outside)).find((problem) => problem !== undefined) ??
    refusals[0];
  if (why !== undefined)
    throw new LametunError(
      'refused',
      `this machine cannot be in the network ${network.name}: ${why}; remove that, or make a network with another --range`,
    );
  for (const share of shares) parseShare(share, localRoutes(routing), ranges);
}

function rangeProblem(range: Cidr, hosts: readonly IpAddress[]): string | undefined {
  const name = formatCidr(range);
  if (!PRIVATE.some((pool) => covers(pool, range))) return `${name} is no private range`;
  const widest = range.address.length === 4 ? WIDEST.ipv4 : WIDEST.ipv6;
  if (range.prefix < widest) return `${name} is too wide: at most a /${widest}`;
  const host = hosts.find((address) => contains(range, address));
  return host && `${name} contains ${formatAddress(host)}, which must be reached from outside`;
}

/**
 * Whether the hub has made this machine a member of what it showed before, with addresses of that network; who waits has none yet.
 *
 * @throws LametunError `protocol`
 */
export function checkMembership(
  looked: NetworkInfo | undefined,
  network: NetworkInfo,
  you: Membership,
): void {
  const same = (['id', 'name', 'ipv4', 'ipv6', 'mtu'] as const).every(
    (field) => looked?.[field] === network[field],
  );
  if (!same)
    throw new LametunError('protocol', 'the hub showed another network than the one that it let us into');
  const { ipv4, ipv6 } = you;
  if (ipv4 === undefined || ipv6 === undefined) return; // it waits
  const has4 = contains(memberRange(parseCidr(network.ipv4)!), parseAddress(ipv4)!);
  const has6 = contains(parseCidr(network.ipv6)!, parseAddress(ipv6)!);
  if (!has4 || !has6)
    throw new LametunError(
      'protocol',
      `the hub gave us addresses from outside of the network: ${ipv4}, ${ipv6}`,
    );
}
