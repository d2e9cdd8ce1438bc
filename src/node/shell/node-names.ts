import { parseAddress } from '../../ip/address.js';
import type { Log } from '../../log.js';
import type { Addresses } from '../../protocol/messages.js';
import type { NodeStatus } from '../control/control.js';
import type { NamedNode } from '../machine/commands.js';
import type { NodeMachine } from '../machine/node-machine.js';
import { LocalNames } from '../names/local-names.js';
import type { StateDirectory } from './state.js';

export interface NodeNamesOptions {
  /** Whether programs of this machine find members by name. */
  readonly names: boolean;
  readonly state: StateDirectory;
  readonly log: Log;
}

/** The members' names, for the programs of this machine; from when this node has an address to answer them at. */
export class NodeNames {
  readonly #options: NodeNamesOptions;
  readonly #machine: () => NodeMachine;
  #local: LocalNames | undefined;
  #nodes: readonly NamedNode[] = [];
  #starting: Promise<void> | undefined;
  #isStopped = false;

  constructor(options: NodeNamesOptions, machine: () => NodeMachine) {
    this.#options = options;
    this.#machine = machine;
  }

  get status(): NodeStatus['names'] {
    const local = this.#local;
    return { how: local?.how ?? 'none', why: local?.why, through: local?.through };
  }

  /** Once there is an address; before, and a second time, it does nothing. */
  async start(): Promise<void> {
    const { ipv4, ipv6 } = this.#machine().node.you;
    if (!this.#options.names || ipv4 === undefined || ipv6 === undefined) return;
    this.#starting ??= this.#startOnce({ ipv4, ipv6 });
    await this.#starting;
  }

  async #startOnce({ ipv4, ipv6 }: Addresses): Promise<void> {
    const { state, log } = this.#options;
    const { node, ranges } = this.#machine();
    const { network, device } = node;
    const hasIpv6 = this.#machine().hostPlan().addresses.length > 1;
    const local = await LocalNames.start({
      ...{ network: network.name, ranges, device, stateDirectory: state.path },
      addresses: { ipv4: parseAddress(ipv4)!, ...(hasIpv6 && { ipv6: parseAddress(ipv6)! }) },
      log: (message) => log.error(message),
    });
    this.#local = local;
    if (this.#isStopped) this.stop();
    else local.set(this.#nodes);
  }

  /** All who are in the network from now on. */
  set(nodes: readonly NamedNode[]): void {
    this.#nodes = nodes;
    this.#local?.set(nodes);
  }

  /** The machine's other name servers. */
  upstreams(): readonly string[] {
    return this.#local?.upstreams() ?? [];
  }

  /** Takes the names back. */
  stop(): void {
    this.#isStopped = true;
    try {
      this.#local?.stop();
    } catch (error) {
      this.#options.log.error((error as Error).message);
    }
  }
}
