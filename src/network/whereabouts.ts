import { formatAddress } from '../ip/address.js';
import type { Cidr } from '../ip/cidr.js';
import type { Endpoint } from '../linux/socket-address.js';
import { ownCandidates } from './candidates.js';
import { localAddresses } from './local-addresses.js';

export interface WhereaboutsOptions {
  /** The network's own device, which is no way to this machine. */
  readonly device: string;
  /** The UDP port. */
  readonly port: () => number;
  /** The network's own ranges. */
  readonly inside: readonly Cidr[];
  /** Where this node may be reached from now on. */
  readonly onCandidates: (candidates: readonly Endpoint[]) => void;
  /** This machine has other addresses than before: it may be in another network. */
  readonly onMoved: () => void;
}

/** Where this machine is: the addresses of its devices, and the one that the relay sees. */
export class Whereabouts {
  readonly #options: WhereaboutsOptions;
  #known: string | undefined;
  #seen: Endpoint | undefined;

  constructor(options: WhereaboutsOptions) {
    this.#options = options;
  }

  /** Looks whether the addresses have changed. */
  look(): void {
    const found = localAddresses(this.#options.device);
    const text = found.map(({ device, address }) => `${device} ${formatAddress(address)}`).join('\n');
    if (text === this.#known) return;
    const isFirst = this.#known === undefined;
    this.#known = text;
    this.#tell();
    if (!isFirst) this.#options.onMoved();
  }

  /** @param seen as the relay sees us; undefined: it is not known */
  setSeen(seen: Endpoint | undefined): void {
    this.#seen = seen;
    this.#tell();
  }

  #tell(): void {
    const { device, port, inside, onCandidates } = this.#options;
    onCandidates(ownCandidates(localAddresses(device), port(), this.#seen, inside));
  }
}
