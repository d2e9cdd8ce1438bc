import { uptime } from 'node:os';
import { formatAddress, type IpAddress } from '../../ip/address.js';
import { type ChosenRoute, routeTo } from '../../linux/net/route.js';
import { type Watch, watchNetwork } from '../../linux/net/watch.js';
import type { LocalAddress } from '../machine/paths/candidates.js';
import { localAddresses } from './local-addresses.js';

/** How long changes are collected, milliseconds: who comes into another network gets addresses and routes one by one. */
const DELAY = 100;
/** The shortest time from one look to the next: some machines have other routes all the time. Milliseconds. */
const PAUSE = 500;
/** How often is looked although the kernel says nothing: it may be that it cannot be asked to. */
const LOOK_INTERVAL = 2_000;
/** Who has slept for so long, milliseconds, has lost what routers on the way knew of his connections. */
const SLEEP = 3_000;

export interface SurroundingsOptions {
  /** The device of our own, whose addresses do not count. */
  readonly device: string;
  /** Other addresses than before, another way to the hub, or the machine has slept. */
  readonly onChange: (addresses: readonly LocalAddress[]) => void;
  /** For how long the machine has slept since it was started, milliseconds; for tests. */
  readonly slept?: () => number;
}

/** Watches in which networks this machine is: a laptop that is carried from one Wi-Fi to the next notices it at once. */
export class Surroundings {
  readonly #options: SurroundingsOptions;
  readonly #watch: Watch | undefined;
  readonly #timer: NodeJS.Timeout;
  #delay: NodeJS.Timeout | undefined;
  #known: string;
  #slept: number;
  #lookedAt = -Infinity;
  #hub: IpAddress | undefined;
  #way: string | undefined;

  /** Belongs to the network namespace that the calling thread is in. */
  constructor(options: SurroundingsOptions) {
    this.#options = options;
    this.#known = textOf(this.addresses());
    this.#slept = this.#sleptFor();
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
        const rest = this.#lookedAt + PAUSE - performance.now();
        this.#delay ??= setTimeout(() => this.#look(), Math.max(DELAY, rest));
      });
    } catch {
      return undefined; // then it is looked every two seconds
    }
  }

  #look(): void {
    clearTimeout(this.#delay);
    this.#delay = undefined;
    this.#lookedAt = performance.now();
    const addresses = this.addresses();
    const known = textOf(addresses);
    const way = this.#hub && wayTo(this.#hub);
    const slept = this.#sleptFor();
    const hasSlept = slept - this.#slept > SLEEP;
    const isSame = known === this.#known && way === this.#way;
    this.#known = known;
    this.#way = way;
    this.#slept = slept;
    if (!isSame || hasSlept) this.#options.onChange(addresses);
  }

  /** One clock goes on while the machine sleeps (CLOCK_BOOTTIME), the other does not. */
  #sleptFor(): number {
    return this.#options.slept?.() ?? uptime() * 1_000 - performance.now();
  }
}

const textOf = (addresses: readonly LocalAddress[]): string =>
  addresses.map(({ device, address }) => `${device} ${formatAddress(address)}`).join('\n');

/** Nothing that the kernel says here ends a node. */
function wayTo(address: IpAddress): string {
  let route: ChosenRoute | undefined;
  try {
    route = routeTo(address);
  } catch {} // no IPv6, for instance, where there was some
  const { deviceName, gateway, preferredSource } = route ?? {};
  return [deviceName, ...[gateway, preferredSource].map((each) => each && formatAddress(each))].join(' ');
}
