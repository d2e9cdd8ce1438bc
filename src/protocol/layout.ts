import { type Cidr, networkOf } from '../ip/cidr.js';

/**
 * The part of a network's range that members, and later other devices, get their addresses from. It cannot change when
 * the network has been made.
 *
 * IPv4: the lower half. The upper half is kept for translated copies of shared networks, so that two which use the same
 * addresses can both be reached. IPv6: all of the range, which is the first /64 of a /48 that belongs to this network
 * alone; copies can have the other 65 535.
 */
export function memberRange(range: Cidr): Cidr {
  const { address, prefix } = networkOf(range);
  return address.length === 4 ? { address, prefix: prefix + 1 } : { address, prefix };
}
