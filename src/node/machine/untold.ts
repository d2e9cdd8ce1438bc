import { formatCidr, networkOf, parseCidr } from '../../ip/cidr.js';
import type { StoredNode } from './stored.js';

/**
 * What the hub has wrong about this node: its database may be an old backup, and this machine may have changed.
 *
 * @param you the hub's record of this node
 * @param shares what this node offers
 * @param hasIpv6 whether this machine has IPv6
 * @returns what to tell the hub
 */
export function untold(
  { you, shares }: Pick<StoredNode, 'you' | 'shares'>,
  hasIpv6: boolean,
): { readonly ipv6?: boolean; readonly shares?: readonly string[] } {
  const offered = you.shares.map(({ network }) => network).sort();
  return {
    ...(hasIpv6 === (you.ipv4Only === true) && { ipv6: hasIpv6 }),
    ...(canonical(shares).join() !== offered.join() && { shares }),
  };
}

/** As the hub writes them. */
const canonical = (shares: readonly string[]): string[] => {
  const texts = shares.map((text) => {
    const share = parseCidr(text);
    return share === undefined ? text : formatCidr(networkOf(share));
  });
  return [...new Set(texts)].sort();
};
