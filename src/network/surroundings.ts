import { formatAddress, type IpAddress } from '../ip/address.js';
import { routeTo } from '../linux/route.js';
import { type Watch, watchNetwork } from '../linux/watch.js';
import { localAddresses } from './local-addresses.js';
import type { LocalAddress } from './paths/candidates.js';

/** How long changes are collected, milliseconds: who comes into another network gets addresses and routes one by one. */
const DELAY = 100;
/** How often is looked although the kernel says nothing: it may be that it cannot be asked to. */
const LOOK_INTERVAL = 2_000;

export interface SurroundingsOptions {
  /** The device of our own, whose addresses do not count. */
  readonly device: string;
  /** Other addresses than before, or another way to the hub. */
  readonly onChange: (addresses: readonly LocalAddress[]) => void;
}

/** Watches in which networks this machine is: a laptop that is carried from one Wi-Fi to the next notices it at once. */
export class Surroundings {
  readonly #options: SurroundingsOptions;
  readonly #watch: Watch | undefined;
  readonly #timer: NodeJS.Timeout;
  #delay: NodeJS.Timeout | undefined;
  #known: string;
  #hub: IpAddress | undefined;
  #way: string | undefined;

  /** Belongs to the network namespace that the calling thread is in. */
  constructor(options: SurroundingsOptions) {
    this.#options = options;
    this.#known = textOf(this.addresses());
    this.#watch = this.#startWatch();
    this.#timer = setInterval(() => this.#look(), LOOK_INTERVAL);
  }

  /** As they are now. */
  addresses(): LocalAddress[] {
    return localAddresses(this.#options.device);
  }

  /** Where the hub is: the way there counts from now on. */
  setHub(address: IpAddress): void {
    this.#hub = address;
    this.#way = wayTo(address);
  }

  close(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#delay);
    this.#watch?.close();
  }

  #startWatch(): Watch | undefined {
    try {
      return watchNetwork(() => {
        this.#delay ??= setTimeout(() => this.#look(), DELAY);
      });
    } catch {
      return undefined; // then it is looked every two seconds
    }
  }

  #look(): void {
    clearTimeout(this.#delay);
    this.#delay = undefined;
    const addresses = this.addresses();
    const known = textOf(addresses);
    const way = this.#hub && wayTo(this.#hub);
    if (known === this.#known && way === this.#way) return;
    this.#known = known;
    this.#way = way;
    this.#options.onChange(addresses);
  }
}

const textOf = (addresses: readonly LocalAddress[]): string =>
  addresses.map(({ device, address }) => `${device} ${formatAddress(address)}`).join('\n');

function wayTo(address: IpAddress): string {
  const { deviceName, gateway, preferredSource } = routeTo(address) ?? {};
  return [deviceName, ...[gateway, preferredSource].map((each) => each && formatAddress(each))].join(' ');
}
