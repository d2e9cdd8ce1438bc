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
  readonly link: Pick<NetworkInterface, 'name' | 'addresses'>;
  readonly log: Log;
  /** Returns the node's present plan for this machine. */
  readonly plan: () => HostPlan;
  /** Gets this machine's routes before each check, without the interface's own. */
  readonly onRouting: (routing: Routing) => void;
}

/** Keeps this machine as its node plans it. Close the interface before `stop`: the rules that protect go last. */
export class NodeHost extends Host {
  readonly #link: NodeHostOptions['link'];
  readonly #plan: NodeHostOptions['plan'];

  constructor({ link, log, plan, onRouting }: NodeHostOptions) {
    super({
      device: link.name,
      tell: (message) => log.error(message),
      desired: () => {
        reportRouting(link.name, onRouting);
        const { mtu, addresses, routes, forward } = plan();
        return {
          forwarding: { destinations: forward },
          device: { up: true, bareAddresses: true, mtu, addresses, routes },
        };
      },
    });
    this.#link = link;
    this.#plan = plan;
  }

  /**
   * Gives the interface its addresses.
   *
   * @returns why its planned IPv6 address is missing, or undefined
   * @throws LametunError when its IPv4 address is missing
   */
  configure(): string | undefined {
    this.reconcile();
    const found = this.#link.addresses();
    const missing = this.#plan().addresses.filter(
      ({ address }) => !found.some((own) => addressesEqual(own.address, address)),
    );
    if (missing.length === 0) return undefined;
    const { failure } = this;
    const removed = `another program removes the addresses of ${this.#link.name}`;
    if (missing.some(({ address }) => address.length === 4))
      throw failure ?? new LametunError('linux', `${removed}: stop that program`);
    return failure?.message ?? removed;
  }
}

function reportRouting(device: string, onRouting: NodeHostOptions['onRouting']): void {
  try {
    onRouting(localRouting(device));
  } catch (error) {
    if (!(error instanceof LinuxError)) throw error; // the next check may succeed
  }
}
