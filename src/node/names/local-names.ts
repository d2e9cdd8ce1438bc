import { formatAddress, type IpAddress } from '../../ip/address.js';
import type { Cidr } from '../../ip/cidr.js';
import type { NamedNode } from '../machine/commands.js';
import { Names, reverseZones } from './names.js';
import { Resolver } from './resolver.js';
import { type Announcement, Siblings } from './siblings.js';
import { type SystemNames, startSystemNames } from './system-names.js';

export interface LocalNamesOptions {
  /** The network's name, a DNS label. */
  readonly network: string;
  /** The network's ranges. */
  readonly ranges: readonly Cidr[];
  readonly device: string;
  /** This node's member addresses, which the interface already has; without IPv6 if the machine has none. */
  readonly addresses: { readonly ipv4: IpAddress; readonly ipv6?: IpAddress };
  readonly stateDirectory: string;
}

/** Makes `NODE.NETWORK.lametun` work for the programs of one machine. */
export class LocalNames {
  readonly #log: (message: string) => void;
  #starting: Promise<void> | undefined;
  #nodes: readonly NamedNode[] = [];
  #names: Names | undefined;
  #resolver: Resolver | undefined;
  #siblings: Siblings | undefined;
  #system: SystemNames | undefined;
  #why: string | undefined;
  #isStopped = false;

  /** @param log gets what keeps names from being found */
  constructor(log: (message: string) => void) {
    this.#log = log;
  }

  /** Never throws: a node works without names, and `status` says why there are none. A second call does nothing. */
  async start(options: LocalNamesOptions): Promise<void> {
    this.#starting ??= this.#start(options);
    await this.#starting;
  }

  async #start({ network, ranges, device, addresses, stateDirectory }: LocalNamesOptions): Promise<void> {
    const names = new Names(network, ranges);
    const ipv4 = formatAddress(addresses.ipv4);
    names.hasIpv6 = addresses.ipv6 !== undefined;
    names.set(this.#nodes);
    this.#names = names;
    try {
      const resolver = await Resolver.start({
        addresses: addresses.ipv6 === undefined ? [ipv4] : [ipv4, formatAddress(addresses.ipv6)],
        lookup: (name, type) => names.lookup(name, type),
        upstreams: () => this.upstreams(),
        siblings: (name) => this.#siblings?.answering(name) ?? [],
      });
      if (this.#isStopped) return resolver.close();
      this.#resolver = resolver;
    } catch (error) {
      this.#why = (error as Error).message;
    }
    if (this.#resolver?.addresses.includes(ipv4)) {
      this.#announce({ network, ranges, address: ipv4, device });
      this.#system = startSystemNames({
        ...{ device, address: ipv4, domain: names.domain, reverse: reverseZones(ranges) },
        ...{ stateDirectory, log: this.#log, siblings: this.#siblings },
      });
    } else this.#why ??= `cannot answer names at ${ipv4}`;
    const { why } = this.status;
    if (why !== undefined) this.#log(why);
  }

  /** Without an announcement, this network's names are found only while its node has resolv.conf. */
  #announce(announcement: Announcement): void {
    try {
      this.#siblings = new Siblings(announcement);
    } catch (error) {
      this.#log(`cannot tell other networks on this machine about this one: ${(error as Error).message}`);
    }
  }

  get status(): Pick<SystemNames, 'how' | 'why' | 'through'> {
    const { how = 'none', why, through } = this.#system ?? {};
    return { how, why: this.#why ?? why, through };
  }

  /** Sets the nodes that have names, this node included. */
  set(nodes: readonly NamedNode[]): void {
    this.#nodes = nodes;
    this.#names?.set(nodes);
  }

  /** The machine's other name servers, which must stay reachable outside the tunnel. */
  upstreams(): readonly string[] {
    return this.#system?.upstreams() ?? [];
  }

  /** Call it before the interface is closed. A second call does nothing. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#siblings?.close();
    try {
      this.#system?.stop();
    } catch (error) {
      this.#log((error as Error).message);
    }
    this.#resolver?.close();
  }
}
