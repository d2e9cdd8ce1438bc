import { formatAddress, type IpAddress } from '../../ip/address.js';
import type { Cidr } from '../../ip/cidr.js';
import type { NamedNode } from '../machine/commands.js';
import { Names, reverseZones } from './names.js';
import { Resolver } from './resolver.js';
import { Siblings } from './siblings.js';
import { type SystemNames, startSystemNames } from './system-names.js';

export interface LocalNamesOptions {
  /** The network's name, a DNS label. */
  readonly network: string;
  /** The network's ranges. */
  readonly ranges: readonly Cidr[];
  readonly device: string;
  /** This node's own inner addresses, which the device has already; without IPv6 where the machine has none. */
  readonly addresses: { readonly ipv4: IpAddress; readonly ipv6?: IpAddress };
  readonly stateDirectory: string;
  /** Told of what keeps names from being found. */
  readonly log: (message: string) => void;
}

/** All that makes `NODE.NETWORK.lametun` work on one machine: the names, who answers them, who is asked. */
export class LocalNames {
  readonly #names: Names;
  #resolver: Resolver | undefined;
  #siblings: Siblings | undefined;
  #system: SystemNames | undefined;
  #why: string | undefined;

  private constructor(names: Names) {
    this.#names = names;
  }

  /** Never throws: without names a node still works. `why` says what is missing. */
  static async start(options: LocalNamesOptions): Promise<LocalNames> {
    const names = new Names(options.network, options.ranges);
    const local = new LocalNames(names);
    const { ipv4: address4, ipv6: address6 } = options.addresses;
    const ipv4 = formatAddress(address4);
    names.hasIpv6 = address6 !== undefined;
    try {
      local.#resolver = await Resolver.start({
        addresses: address6 === undefined ? [ipv4] : [ipv4, formatAddress(address6)],
        lookup: (name, type) => names.lookup(name, type),
        upstreams: () => local.#system?.upstreams() ?? [],
        siblings: (name) => local.#siblings?.answering(name) ?? [],
      });
    } catch (error) {
      local.#why = (error as Error).message;
    }
    if (local.#resolver?.addresses.includes(ipv4)) {
      local.#announce(options, ipv4);
      local.#system = startSystemNames({
        ...{
          device: options.device,
          address: ipv4,
          domain: names.domain,
          reverse: reverseZones(options.ranges),
        },
        ...{ stateDirectory: options.stateDirectory, log: options.log, siblings: local.#siblings },
      });
    } else local.#why ??= `names cannot be answered at ${ipv4}`;
    if (local.why !== undefined) options.log(local.why);
    return local;
  }

  /** Without it this network's names are still found while its node has resolv.conf. */
  #announce({ network, ranges, device, log }: LocalNamesOptions, address: string): void {
    try {
      this.#siblings = new Siblings({ network, ranges, address, device });
    } catch (error) {
      log(`other networks on this machine do not know of this one: ${(error as Error).message}`);
    }
  }

  get how(): SystemNames['how'] {
    return this.#system?.how ?? 'none';
  }

  /** The device of another network, whose node has resolv.conf and answers for this one. */
  get through(): string | undefined {
    return this.#system?.through;
  }

  /** Why names are not found, or undefined when they are. */
  get why(): string | undefined {
    return this.#why ?? this.#system?.why;
  }

  /** Whoever is in the network from now on, this node included. */
  set(nodes: Iterable<NamedNode>): void {
    this.#names.set(nodes);
  }

  /** The machine's other name servers, which must stay reachable from outside of the tunnel. */
  upstreams(): readonly string[] {
    return this.#system?.upstreams() ?? [];
  }

  /** Before the device goes. A second call does nothing. */
  stop(): void {
    const [system, resolver] = [this.#system, this.#resolver];
    this.#siblings?.close();
    this.#siblings = undefined;
    this.#system = undefined;
    this.#resolver = undefined;
    try {
      system?.stop();
    } finally {
      resolver?.close();
    }
  }
}
