import { type Cidr, networkOf } from '../ip/cidr.js';

/**
 * The part of a network's range for the addresses of members and, later, other devices. It never changes.
 *
 * IPv4: the lower half. The upper half is reserved for translated copies of shared networks, so that two shares with the same
 * addresses can both be reached. IPv6: all of the range, which is the first /64 of a /48 that belongs to this network
 * alone; copies can have the other 65 535.
 */
export function memberRange(range: Cidr): Cidr {
  const { address, prefix } = networkOf(range);
  return address.length === 4 ? { address, prefix: prefix + 1 } : { address, prefix };
}
