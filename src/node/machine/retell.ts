import { formatCidr, networkOf, parseCidr } from '../../ip/cidr.js';
import type { Log } from '../../log.js';
import type { OfferedShare } from '../../protocol/messages.js';
import type { StoredNode } from '../shell/state.js';
import type { HubClient } from './hub/hub-client.js';

export interface RetellOptions {
  readonly client: Pick<HubClient, 'request'>;
  /** This node, as the hub has just said and as it is kept here. */
  readonly node: StoredNode;
  /** Whether this machine has IPv6. */
  readonly hasIpv6: boolean;
  /** What the hub makes of what this node offers. */
  readonly onShares: (answered: readonly OfferedShare[]) => void;
  readonly log: Pick<Log, 'error'>;
}

/**
 * Tells the hub again what only this node can know, where the hub says otherwise: it may have been restored from an old
 * backup, and this machine may not be as it was. What the hub does not take is logged; the next connection tries again.
 */
export async function retell({ client, node, hasIpv6, onShares, log }: RetellOptions): Promise<void> {
  const { you, shares } = node;
  try {
    if (hasIpv6 === (you.ipv4Only === true)) await client.request('inside', { ipv6: hasIpv6 });
  } catch (error) {
    log.error(`The hub could not be told whether this node has IPv6: ${(error as Error).message}`);
  }
  try {
    const offered = you.shares.map(({ network }) => network).sort();
    if (canonical(shares).join() === offered.join()) return;
    onShares((await client.request('share', { shares })).shares);
  } catch (error) {
    log.error(`The hub could not be told what this node offers: ${(error as Error).message}`);
  }
}

/** As the hub writes them. */
const canonical = (shares: readonly string[]): string[] => {
  const texts = shares.map((text) => {
    const share = parseCidr(text);
    return share === undefined ? text : formatCidr(networkOf(share));
  });
  return [...new Set(texts)].sort();
};
