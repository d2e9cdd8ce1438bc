import { covers, formatCidr, networkOf, overlap, parseCidr } from '../../ip/cidr.js';
import { Refused } from './refused.js';

/** The most networks that one node can offer. */
const MAX_SHARES = 64;

/** Networks that are never behind a gateway: RFC 6890. */
const UNSHAREABLE: readonly (readonly [string, string])[] = [
  ['0.0.0.0/8', 'is not a network of hosts'],
  ['127.0.0.0/8', 'is the loopback network'],
  ['169.254.0.0/16', 'is link-local'],
  ['224.0.0.0/4', 'is multicast'],
  ['240.0.0.0/4', 'is reserved'],
  ['::/16', 'is reserved'],
  ['fe80::/10', 'is link-local'],
  ['ff00::/8', 'is multicast'],
];
const FORBIDDEN = UNSHAREABLE.map(([network, why]) => ({ network: parseCidr(network)!, text: network, why }));

/** The shortest prefixes that may be shared. */
const SHORTEST = { 4: 8, 16: 16 } as const;

/** A network in its canonical form: no host bits, RFC 5952. Undefined if the text is not a network. */
export function canonicalNetwork(text: string): string | undefined {
  const cidr = parseCidr(text);
  return cidr === undefined ? undefined : formatCidr(networkOf(cidr));
}

/**
 * Networks in their canonical form.
 *
 * @param who may have so many: `a node may share`
 * @throws Refused
 */
export function canonicalNetworks(texts: readonly string[], who: string): string[] {
  if (texts.length > MAX_SHARES) throw new Refused('bad-request', `too many networks: ${who} ${MAX_SHARES}`);
  return texts.map((text) => {
    const network = canonicalNetwork(text);
    if (network !== undefined) return network;
    throw new Refused('bad-request', `${text} is not a network: write it as 192.168.1.0/24`);
  });
}

/** A network that another node shares, or offers to share. */
export interface Claim {
  readonly network: string;
  readonly node: string;
}

/**
 * Why a node cannot offer a network, or undefined when it can.
 *
 * @param ranges the networks' own ranges
 */
export function whyNotShareable(
  network: string,
  ranges: readonly string[],
  others: readonly Claim[],
): string | undefined {
  const cidr = parseCidr(network)!;
  if (cidr.prefix === 0) return 'a default route cannot be shared';
  const forbidden = FORBIDDEN.find((each) => overlap(each.network, cidr));
  if (forbidden !== undefined) return `${forbidden.text} ${forbidden.why}`;
  const shortest = SHORTEST[cidr.address.length as 4 | 16];
  if (cidr.prefix < shortest) return `is wider than /${shortest}`;
  const range = ranges.find((each) => overlap(parseCidr(each)!, cidr));
  if (range !== undefined) return `overlaps ${range}, the range of the network itself`;
  const other = others.find((claim) => overlap(parseCidr(claim.network)!, cidr));
  return other === undefined ? undefined : `overlaps ${other.network} of ${other.node}`;
}

/** Whether one of `allowed` contains all of a network. */
export function isAllowed(network: string, allowed: readonly string[]): boolean {
  const cidr = parseCidr(network)!;
  return allowed.some((each) => covers(parseCidr(each)!, cidr));
}
