import { LametunError } from '../../errors.js';
import { addressesEqual } from '../../ip/address.js';
import { LinuxError } from '../../linux/ffi/errno.js';
import { Host } from '../../linux/host/host.js';
import type { NetworkInterface } from '../../linux/net/interface.js';
import type { Log } from '../../log.js';
import type { HostPlan } from '../machine/host-planner.js';
import type { Routing } from '../machine/ranges.js';
import { localRouting } from './local-routing.js';

export interface NodeHostOptions {
  /** The network interface, which exists. */
  readonly device: string;
  readonly link: Pick<NetworkInterface, 'name' | 'addresses'>;
  readonly log: Log;
  /** What the node wants of this machine now. */
  readonly plan: () => HostPlan;
  /** Told of this machine's routes before each comparison, not counting the interface's own. */
  readonly onRouting: (routing: Routing) => void;
}

/** Keeps this machine as a node wants it. */
export class NodeHost {
  readonly #options: NodeHostOptions;
  readonly #host: Host;

  constructor(options: NodeHostOptions) {
    const { device, log, plan } = options;
    this.#options = options;
    this.#host = new Host({
      device,
      tell: (message) => log.error(message),
      desired: () => {
        this.#readRouting();
        const { mtu, addresses, routes, forward } = plan();
        return {
          forwarding: { destinations: forward },
          device: { up: true, bareAddresses: true, mtu, addresses, routes },
        };
      },
    });
  }

  /** Makes it so. */
  reconcile(): void {
    this.#host.reconcile();
  }

  /**
   * Gives the interface its addresses.
   *
   * @returns why it has no IPv6 address, if it was to have one; undefined when all is well
   * @throws LametunError when it has no IPv4 address
   */
  configure(): string | undefined {
    const { link, plan } = this.#options;
    this.#host.reconcile();
    const found = link.addresses();
    const missing = plan().addresses.filter(
      ({ address }) => !found.some((own) => addressesEqual(own.address, address)),
    );
    if (missing.length === 0) return undefined;
    const { failure } = this.#host;
    const removed = `another program removes the addresses of ${link.name}`;
    if (missing.some(({ address }) => address.length === 4))
      throw failure ?? new LametunError('linux', `${removed}: stop that program`);
    return failure?.message ?? removed;
  }

  warnings(): string[] {
    return this.#host.warnings();
  }

  /** Gives back what was there. The device is closed first: what protects may go then. @throws LametunError */
  stop(): void {
    this.#host.stop();
  }

  #readRouting(): void {
    try {
      this.#options.onRouting(localRouting(this.#options.device));
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error; // the next comparison may do better
    }
  }
}
