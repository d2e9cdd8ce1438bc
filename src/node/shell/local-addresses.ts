import { networkInterfaces } from 'node:os';
import { parseAddress } from '../../ip/address.js';
import { findLink } from '../../linux/net/link.js';
import type { LocalAddress } from '../machine/paths/candidates.js';

/**
 * The addresses of this machine's network devices, in the network namespace of the calling thread.
 *
 * @param ownDevice is left out
 */
export function localAddresses(ownDevice: string): LocalAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([device, addresses = []]) => {
    if (device === ownDevice || addresses.every(({ internal }) => internal)) return [];
    const kind = findLink(device)?.kind;
    return addresses.flatMap(({ address, internal }) => {
      const bytes = internal ? undefined : parseAddress(address);
      return bytes === undefined ? [] : [{ device, kind, address: bytes }];
    });
  });
}
