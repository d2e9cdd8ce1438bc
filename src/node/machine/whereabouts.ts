import { formatAddress, type IpAddress } from '../../ip/address.js';
import type { Cidr } from '../../ip/cidr.js';
import type { Endpoint } from '../../ip/endpoint.js';
import { Surroundings } from '../shell/surroundings.js';
import { ownCandidates } from './paths/candidates.js';

export interface WhereaboutsOptions {
  /** The network's own device, which is no way to this machine. */
  readonly device: string;
  /** The UDP port. */
  readonly port: () => number;
  /** The network's own ranges. */
  readonly inside: readonly Cidr[];
  /** Where this node may be reached from now on. @param isComplete see `Paths.setOwn` */
  readonly onCandidates: (candidates: readonly Endpoint[], isComplete: boolean) => void;
  /**
   * This machine has other addresses than before, or another way to the hub: it may be in another network.
   *
   * @param isOwn whether an address is one of this machine's now
   */
  readonly onMoved: (isOwn: (address: IpAddress) => boolean) => void;
}

/** Where this machine is: the addresses of its devices, and the one that the relay sees. */
export class Whereabouts {
  readonly #options: WhereaboutsOptions;
  #surroundings: Surroundings | undefined;
  #seen: Endpoint | undefined;
  /** Whether the relay has said how it sees us here, or was asked in vain. */
  #isSeenKnown = false;

  constructor(options: WhereaboutsOptions) {
    this.#options = options;
  }

  /** Looks where this machine is, and watches it from then on. */
  start(): void {
    this.#surroundings = new Surroundings({
      device: this.#options.device,
      onChange: (addresses) => {
        const own = new Set(addresses.map(({ address }) => formatAddress(address)));
        this.#isSeenKnown = false;
        this.#tell();
        this.#options.onMoved((address) => own.has(formatAddress(address)));
      },
    });
    this.#tell();
  }

  /** The way there counts from now on. */
  setHub(address: IpAddress): void {
    this.#surroundings?.setHub(address);
  }

  /**
   * @param seen as the relay sees us; undefined: it does not
   * @param isKnown false: it is not known whether it does
   */
  setSeen(seen: Endpoint | undefined, isKnown: boolean): void {
    this.#seen = seen;
    this.#isSeenKnown = isKnown;
    this.#tell();
  }

  close(): void {
    this.#surroundings?.close();
  }

  #tell(): void {
    const { port, inside, onCandidates } = this.#options;
    const addresses = this.#surroundings?.addresses() ?? [];
    onCandidates(ownCandidates(addresses, port(), this.#seen, inside), this.#isSeenKnown);
  }
}
