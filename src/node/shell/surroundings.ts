import { networkInterfaces, uptime } from 'node:os';
import { formatAddress, type IpAddress, parseAddress } from '../../ip/address.js';
import { findLink } from '../../linux/net/link.js';
import { type ChosenRoute, routeTo } from '../../linux/net/route.js';
import { type Watch, watchNetwork } from '../../linux/net/watch.js';
import type { LocalAddress } from '../machine/paths/candidates.js';

/** How long to collect changes, milliseconds: in a new network, addresses and routes come one by one. */
const DELAY = 100;
/** The shortest time between two checks, milliseconds: on some machines routes change all the time. */
const PAUSE = 500;
/** How often to check without an announcement of the kernel, milliseconds: it may announce nothing. */
const CHECK_INTERVAL = 2_000;
/** After a sleep of this many milliseconds, routers on the way may have forgotten this machine's connections. */
const SLEEP = 3_000;

export interface SurroundingsOptions {
  /** The node's own interface, whose addresses do not count. */
  readonly device: string;
  /** Called when addresses or the route to the hub have changed, or the machine has slept. */
  readonly onChange: (addresses: readonly LocalAddress[]) => void;
  /** How long the machine has slept since it was started, milliseconds; for tests. */
  readonly slept?: () => number;
}

/** Watches which networks this machine is in: a laptop that moves to another Wi-Fi notices it at once. */
export class Surroundings {
  readonly #options: SurroundingsOptions;
  readonly #watch: Watch | undefined;
  readonly #timer: NodeJS.Timeout;
  #delay: NodeJS.Timeout | undefined;
  #known: string;
  #slept: number;
  #checkedAt = -Infinity;
  #hub: IpAddress | undefined;
  #route: string | undefined;

  /** Belongs to the network namespace that the calling thread is in. */
  constructor(options: SurroundingsOptions) {
    this.#options = options;
    this.#known = textOf(this.addresses());
    this.#slept = this.#sleptFor();
    this.#watch = this.#startWatch();
    this.#timer = setInterval(() => this.#check(), CHECK_INTERVAL);
  }

  /** The present addresses of this machine's interfaces, without the node's own. */
  addresses(): LocalAddress[] {
    return Object.entries(networkInterfaces()).flatMap(([device, addresses = []]) => {
      if (device === this.#options.device || addresses.every(({ internal }) => internal)) return [];
      const kind = findLink(device)?.kind;
      return addresses.flatMap(({ address, internal }) => {
        const bytes = internal ? undefined : parseAddress(address);
        return bytes === undefined ? [] : [{ device, kind, address: bytes }];
      });
    });
  }

  /** Watches the route to the hub from now on. */
  setHub(address: IpAddress): void {
    this.#hub = address;
    this.#route = routeText(address);
  }

  close(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#delay);
    this.#watch?.close();
  }

  #startWatch(): Watch | undefined {
    try {
      return watchNetwork(() => {
        const rest = this.#checkedAt + PAUSE - performance.now();
        this.#delay ??= setTimeout(() => this.#check(), Math.max(DELAY, rest));
      });
    } catch {
      return undefined; // the timer still checks
    }
  }

  #check(): void {
    clearTimeout(this.#delay);
    this.#delay = undefined;
    this.#checkedAt = performance.now();
    const addresses = this.addresses();
    const known = textOf(addresses);
    const route = this.#hub && routeText(this.#hub);
    const slept = this.#sleptFor();
    const hasSlept = slept - this.#slept > SLEEP;
    const isSame = known === this.#known && route === this.#route;
    this.#known = known;
    this.#route = route;
    this.#slept = slept;
    if (!isSame || hasSlept) this.#options.onChange(addresses);
  }

  /** The first clock runs while the machine sleeps (CLOCK_BOOTTIME), the second does not. */
  #sleptFor(): number {
    return this.#options.slept?.() ?? uptime() * 1_000 - performance.now();
  }
}

const textOf = (addresses: readonly LocalAddress[]): string =>
  addresses.map(({ device, address }) => `${device} ${formatAddress(address)}`).join('\n');

/** Never throws: no answer of the kernel ends a node. */
function routeText(address: IpAddress): string {
  let route: ChosenRoute | undefined;
  try {
    route = routeTo(address);
  } catch {} // for instance, IPv6 has just gone
  const { deviceName, gateway, preferredSource } = route ?? {};
  return [deviceName, ...[gateway, preferredSource].map((each) => each && formatAddress(each))].join(' ');
}
