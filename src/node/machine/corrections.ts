import { formatCidr, networkOf, parseCidr } from '../../ip/cidr.js';
import type { NodeRequest } from '../../protocol/messages.js';
import type { StoredNode } from './stored.js';

type Correction = Extract<NodeRequest, { readonly type: 'host-info' | 'share' }>;

/**
 * What the hub has wrong about this node: its database may be an old backup, and this machine may have changed.
 *
 * @param node `you` is the hub's record, `shares` what this node offers
 * @param hasIpv6 whether this machine has IPv6
 * @returns the requests that correct it
 */
export function corrections(
  { you, shares }: Pick<StoredNode, 'you' | 'shares'>,
  hasIpv6: boolean,
): Correction[] {
  const offered = you.shares.map(({ network }) => network).sort();
  const wrong: Correction[] = [];
  if (hasIpv6 === (you.ipv4Only === true)) wrong.push({ type: 'host-info', ipv6: hasIpv6 });
  if (canonical(shares).join() !== offered.join()) wrong.push({ type: 'share', shares });
  return wrong;
}

/** As the hub writes them. */
const canonical = (shares: readonly string[]): string[] => {
  const texts = shares.map((text) => {
    const share = parseCidr(text);
    return share === undefined ? text : formatCidr(networkOf(share));
  });
  return [...new Set(texts)].sort();
};
