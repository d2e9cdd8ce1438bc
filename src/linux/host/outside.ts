import { type Cidr, overlap, standsForAll } from '../../ip/cidr.js';
import { findLink } from '../net/link.js';
import { listAllRoutes, RTN } from '../net/route.js';

/**
 * The devices to the Internet, from which nobody may enter the tunnel: devices with a default route in any table, in
 * use or not, now or at any time since this process began. Failover and policy routing may switch between them at any
 * time.
 */
export class OutsideDevices {
  readonly #known = new Set<number>();

  /**
   * The names of those devices, without devices that also lead to a shared network, as on a machine with one cable.
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
        if (name === undefined) this.#known.delete(index); // numbers are never reused
        // nft cannot quote such a name.
        return name === undefined || shared.has(index) || name === own || /["*\\]/.test(name) ? [] : name;
      })
      .sort();
  }
}
