import { addressesEqual } from '../ip/address.js';
import type { Cidr } from '../ip/cidr.js';
import { ERRNO, LinuxError } from '../linux/errno.js';
import type { Interface } from '../linux/interface.js';

/** What the reader of the post types by hand: `ip link set`, `ip addr add`, `ip route add`. */
export interface DeviceWishes {
  readonly addresses: readonly Cidr[];
  readonly routes: readonly Cidr[];
  /** In bytes; undefined leaves the device's as it is. */
  readonly mtu: number | undefined;
}

/** Sets a device up as wished, and puts it back. What was there before stays there after. */
export class DeviceSetup {
  readonly #device: Interface;
  readonly #wishes: DeviceWishes;
  readonly #undo: (() => void)[] = [];

  constructor(device: Interface, wishes: DeviceWishes) {
    this.#device = device;
    this.#wishes = wishes;
  }

  /**
   * Makes everything as wished. Again and again if need be: a device that was down comes back without its
   * routes and its IPv6 addresses.
   *
   * @throws LinuxError; what was done until then is undone by `undo`
   */
  apply(): void {
    const device = this.#device;
    const { addresses, routes, mtu } = this.#wishes;
    const before = device.link();
    if (mtu !== undefined && mtu !== before.mtu) {
      device.setMtu(mtu);
      this.#undo.push(() => device.setMtu(before.mtu));
    }
    if (!before.up && (addresses.length > 0 || routes.length > 0 || mtu !== undefined)) {
      device.setUp(true);
      this.#undo.push(() => device.setUp(false));
    }
    for (const address of addresses) {
      const added = unlessThere(() => device.addAddress(address));
      if (added) this.#undo.push(() => device.removeAddress(address));
    }
    for (const route of routes) {
      const added = unlessThere(
        () => device.addRoute(route),
        () => this.#hasRoute(route),
      );
      if (added) this.#undo.push(() => device.removeRoute(route));
    }
  }

  /** Undoes what was done, last first. What is gone by now, perhaps with the device, is as it should be. */
  undo(): void {
    for (const step of this.#undo.splice(0).reverse()) {
      try {
        step();
      } catch (error) {
        if (!(error instanceof LinuxError)) throw error;
      }
    }
  }

  #hasRoute(wanted: Cidr): boolean {
    return this.#device
      .routes()
      .some(
        ({ destination: { address, prefix } }) =>
          prefix === wanted.prefix && addressesEqual(address, wanted.address),
      );
  }
}

/**
 * Does something that may have been done already.
 *
 * @param ours whether what is there is just what was wanted
 * @returns whether it was done now
 */
function unlessThere(action: () => void, ours: () => boolean = () => true): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (error instanceof LinuxError && error.errno === ERRNO.EEXIST && ours()) return false;
    throw error;
  }
}
