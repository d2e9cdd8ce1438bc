import { formatCidr, networkOf, parseCidr } from '../../ip/cidr.js';
import type { StoredNode } from './stored.js';

/**
 * What the hub must be told again: it may have been restored from an old backup, and this machine may not be as it was.
 *
 * @param node as the hub has just said, and as it is kept here
 * @param hasIpv6 whether this machine has IPv6
 * @returns what the hub has wrong
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
