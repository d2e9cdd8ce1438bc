import { LametunError } from '../errors.js';
import { type Cidr, formatCidr, networkOf, overlap, parseCidr } from '../ip/cidr.js';

/** The ranges that a network's members get their addresses from. */
export interface Ranges {
  /** A /16. */
  readonly ipv4: Cidr;
  /** A /64. */
  readonly ipv6: Cidr;
}

/** Fills `out` with unpredictable bytes: `Crypto.random`. */
type Random = (out: Uint8Array) => void;

/** Where IPv4 ranges come from: private addresses (RFC 1918 §3), and those between carrier and customer (RFC 6598). */
const POOLS: readonly Cidr[] = ['10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12'].map((text) => network(text));
const CARRIER = network('100.64.0.0/10');

/**
 * What machines that do not know of each other have in common all the same, by the defaults of routers, OpenVPN,
 * Docker, Podman and Kubernetes. A node that joins later may have them, so they are taken only when nothing else is
 * free.
 */
const COMMON: readonly Cidr[] = [
  ...['10.0.0.0/15', '10.8.0.0/16', '10.10.0.0/16', '10.42.0.0/15', '10.88.0.0/16', '10.96.0.0/12'],
  ...['10.244.0.0/16', '172.16.0.0/15', '172.18.0.0/15', '172.20.0.0/14', '172.24.0.0/13'],
].map((text) => network(text));

/** Wider routes are default ones, or the halves and quarters of one by which VPNs stand in for it. */
const WIDEST = { ipv4: 8, ipv6: 7 } as const;

/** How often a random IPv6 network may meet one to avoid, before it is taken for no coincidence. */
const TRIES = 32;

/**
 * Chooses a network's ranges by chance, so that networks made apart can meet later. IPv4: a /16 of the private
 * addresses; none of 100.64.0.0/10 as soon as anything there is to be avoided, since then another VPN or a carrier
 * deals in all of it. IPv6: the first /64 of a random ULA /48, RFC 4193 §3.2.2.
 *
 * @param avoid networks that must not overlap: the machine's routes and addresses. Default routes do not count, nor what
 *   stands in for them
 * @throws LametunError `missing` when every private network is in use
 */
export function chooseRange(avoid: readonly Cidr[], random: Random): Ranges {
  const taken = avoid.filter(
    ({ address, prefix }) => prefix >= (address.length === 4 ? WIDEST.ipv4 : WIDEST.ipv6),
  );
  return { ipv4: chooseIpv4(taken, random), ipv6: chooseIpv6(taken, random) };
}

function chooseIpv4(avoid: readonly Cidr[], random: Random): Cidr {
  const taken = avoid.some((other) => overlap(other, CARRIER)) ? [...avoid, CARRIER] : avoid;
  const free = POOLS.flatMap(slash16s).filter((range) => !taken.some((other) => overlap(range, other)));
  const rare = free.filter((range) => !COMMON.some((other) => overlap(range, other)));
  const choice = rare.length > 0 ? rare : free;
  if (choice.length === 0) {
    const pools = POOLS.map(formatCidr).join(', ');
    throw new LametunError('missing', `the routes of this machine leave no /16 free in ${pools}`);
  }
  return choice[below(choice.length, random)]!;
}

function chooseIpv6(avoid: readonly Cidr[], random: Random): Cidr {
  for (let tries = 0; tries < TRIES; tries++) {
    const address = new Uint8Array(16);
    random(address.subarray(1, 6)); // the global ID of 40 bits; the subnet that follows is 0
    address[0] = 0xfd;
    const range = { address, prefix: 64 };
    if (!avoid.some((other) => overlap(range, other))) return range;
  }
  throw new LametunError('missing', 'the routes of this machine leave no IPv6 network free in fd00::/8');
}

function slash16s(pool: Cidr): Cidr[] {
  return Array.from({ length: 2 ** (16 - pool.prefix) }, (_, i) => {
    const [first, second] = pool.address;
    return { address: Uint8Array.of(first!, second! + i, 0, 0), prefix: 16 };
  });
}

/** An integer in [0, limit), each as likely as the others. `limit` is at most 2^16. */
function below(limit: number, random: Random): number {
  const bytes = new Uint8Array(2);
  const whole = 65536 - (65536 % limit);
  for (;;) {
    random(bytes);
    const value = bytes[0]! * 256 + bytes[1]!;
    if (value < whole) return value % limit;
  }
}

function network(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw new TypeError(text);
  return cidr;
}

/**
 * The address of a host in a network.
 *
 * @param host counted from the network's first address, below 2^32
 */
export function hostAddress({ address, prefix }: Cidr, host: number): Uint8Array {
  const result = networkOf({ address, prefix }).address.slice();
  for (let i = result.length - 1, rest = host; rest > 0 && i >= 0; i--, rest = Math.floor(rest / 256)) {
    result[i] = result[i]! | (rest % 256);
  }
  return result;
}
