import { type Cidr, overlap, standsForAll } from '../../ip/cidr.js';
import { findLink } from '../net/link.js';
import { listAllRoutes, RTN } from '../net/route.js';

/**
 * The devices to the Internet, from which nobody may come into the tunnel: those that have a default route in any table,
 * whichever of them is in use, and those that had one since this began to look. Failover and policy routing choose
 * between them at any moment.
 */
export class OutsideDevices {
  readonly #known = new Set<number>();

  /**
   * The names of those devices, but for those that lead to a network that is shared as well, as on a machine with one
   * cable.
   *
   * @param own lametun's device
   * @throws LinuxError
   */
  names(own: string, destinations: readonly Cidr[]): string[] {
    const routes = listAllRoutes().filter((route) => route.type === RTN.unicast);
    const [wide, narrow] = [
      routes.filter((route) => standsForAll(route.destination)),
      routes.filter((route) => !standsForAll(route.destination)),
    ];
    for (const index of wide.flatMap(({ devices }) => devices)) this.#known.add(index);
    const shared = new Set(
      narrow
        .filter(({ destination }) => destinations.some((share) => overlap(share, destination)))
        .flatMap(({ devices }) => devices),
    );
    return [...this.#known]
      .flatMap((index) => {
        const name = findLink(index)?.name;
        if (name === undefined) this.#known.delete(index); // a number is not given out again
        // A name that nft does not take in quotes is no device's of ours to speak of.
        return name === undefined || shared.has(index) || name === own || /["*\\]/.test(name) ? [] : name;
      })
      .sort();
  }
}
