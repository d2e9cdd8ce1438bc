import type { Log } from '../device/log.js';
import type { LametunError } from '../errors.js';
import type { Cidr } from '../ip/cidr.js';
import type { DesiredDevice, DesiredHost } from '../linux/host/desired.js';
import { Host } from '../linux/host/host.js';

/** What a node wants of its machine, put together from what its parts want. */
export class OwnHost {
  readonly #host: Host;
  #desired: DesiredHost = {};

  /** @param device the network interface, which exists */
  constructor(device: string, log: Log) {
    this.#host = new Host({ device, tell: (message) => log.error(message) });
  }

  /** Sets the device up. Nothing behind this machine is reached through it yet. @throws LametunError when it cannot be */
  configure(device: Omit<DesiredDevice, 'routes'>): void {
    this.#want({ forwarding: { destinations: [] }, device: { ...device, routes: [] } });
  }

  /** Routes these networks into the tunnel, and no others. */
  route(routes: readonly Cidr[]): void {
    const { device } = this.#desired;
    if (device !== undefined) this.#want({ ...this.#desired, device: { ...device, routes } });
  }

  /** Lets others reach these networks behind this machine, and nothing else there. */
  forward(destinations: readonly Cidr[]): void {
    this.#want({ ...this.#desired, forwarding: { destinations } });
  }

  get failure(): LametunError | undefined {
    return this.#host.failure;
  }

  warnings(): string[] {
    return this.#host.warnings();
  }

  /** Gives back what was there. The device is closed first: what protects may go then. @throws LametunError */
  stop(): void {
    this.#host.stop();
  }

  #want(desired: DesiredHost): void {
    this.#desired = desired;
    this.#host.want(desired);
  }
}
