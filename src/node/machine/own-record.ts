import type { Membership } from '../../protocol/messages.js';

/** What the hub's word changes of a node's own record: rights, shares and the name always, addresses once, the id never. */
export function updatedRecord(record: Membership, told: Membership): Membership {
  const { ipv4Only: _, ...before } = record;
  const { name, admin, pending, ipv4, ipv6, ipv4Only, shares } = told;
  return {
    ...before,
    ...(before.ipv4 === undefined && ipv4 !== undefined && ipv6 !== undefined && { ipv4, ipv6 }),
    ...{ name, admin, pending, shares },
    ...(ipv4Only && { ipv4Only }),
  };
}
