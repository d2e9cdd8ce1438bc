import { LametunError } from '../../errors.js';
import { type Cidr, covers, formatCidr, networkOf, overlap, parseCidr, standsForAll } from '../../ip/cidr.js';

/** A network's own addresses: `memberRange` says which of them members get. */
export interface Ranges {
  readonly ipv4: Cidr;
  /** A /64. */
  readonly ipv6: Cidr;
}

/** Fills `out` with unpredictable bytes: `Crypto.random`. */
type Random = (out: Uint8Array) => void;

/** Where IPv4 ranges come from (RFC 1918 §3), and how wide they are. */
const POOL = network('10.0.0.0/8');
const PREFIX = 15;

/** Where a requested range may lie: in private addresses, or those between carrier and customer (RFC 6598). */
const ALLOWED = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'].map(network);
const NARROWEST = 24;

/**
 * Networks that many machines use, by the defaults of routers, OpenVPN, Docker, Podman and Kubernetes. A node that
 * joins later may use them too, so they are chosen only if nothing else is free.
 */
const COMMON: readonly Cidr[] = [
  ...['10.0.0.0/15', '10.8.0.0/16', '10.10.0.0/16', '10.42.0.0/15', '10.88.0.0/16', '10.96.0.0/12'],
  '10.244.0.0/16',
].map(network);

/** How many random IPv6 networks are tried: more collisions are not a coincidence. */
const TRIES = 32;

/**
 * Chooses a network's ranges at random, so that separate networks can be connected later. IPv4: a /15 of 10.0.0.0/8,
 * and never one of 100.64.0.0/10, which Tailscale and carriers use. IPv6: the first /64 of a random ULA /48, RFC 4193
 * §3.2.2.
 *
 * @param avoid the machine's routes and addresses. None of them may lie in the range. A wider one around the range
 *   keeps working, and is avoided if possible. Default routes, and routes that stand in for them, do not count
 * @param ipv4 used as it is, if given
 * @throws LametunError `missing` when every network is in use
 */
export function chooseRange(avoid: readonly Cidr[], random: Random, ipv4?: Cidr): Ranges {
  const taken = avoid.filter((other) => !standsForAll(other));
  return { ipv4: ipv4 ?? chooseIpv4(taken, random), ipv6: chooseIpv6(taken, random) };
}

function chooseIpv4(avoid: readonly Cidr[], random: Random): Cidr {
  const usable = candidates().filter((range) => !avoid.some((other) => covers(range, other)));
  const free = usable.filter((range) => !avoid.some((other) => overlap(range, other)));
  const isRare = (range: Cidr): boolean => !COMMON.some((other) => overlap(range, other));
  const tiers = [free.filter(isRare), free, usable.filter(isRare), usable];
  const choice = tiers.find((tier) => tier.length > 0);
  if (choice === undefined)
    throw new LametunError(
      'missing',
      `no free range: the routes of this machine use every /${PREFIX} of ${formatCidr(POOL)}; choose one with --range, such as 172.30.0.0/15`,
    );
  return choice[below(choice.length, random)]!;
}

function chooseIpv6(avoid: readonly Cidr[], random: Random): Cidr {
  let last: Cidr | undefined;
  for (let tries = 0; tries < TRIES; tries++) {
    const address = new Uint8Array(16);
    random(address.subarray(1, 6)); // the global ID of 40 bits; the subnet that follows is 0
    address[0] = 0xfd;
    const range = { address, prefix: 64 };
    if (!avoid.some((other) => overlap(range, other))) return range;
    if (!avoid.some((other) => covers(range, other))) last = range;
  }
  if (last !== undefined) return last;
  throw new LametunError(
    'missing',
    "this machine's routes leave no IPv6 network of fd00::/8 free: remove unused ones",
  );
}

/** Every network of that size in the pool. */
function candidates(): Cidr[] {
  return Array.from({ length: 2 ** (PREFIX - POOL.prefix) }, (_, i) => ({
    address: Uint8Array.of(POOL.address[0]!, i * 2 ** (16 - PREFIX), 0, 0),
    prefix: PREFIX,
  }));
}

/**
 * Parses the requested range of a new network: `172.30.0.0/15`.
 *
 * @returns in its canonical form
 * @throws LametunError `usage`
 */
export function parseRange(text: string): string {
  const range = parseCidr(text);
  const wrong = (why: string): LametunError => new LametunError('usage', `--range ${text}: ${why}`);
  if (range === undefined || range.address.length !== 4)
    throw wrong('write an IPv4 network, such as 172.30.0.0/15');
  const canonical = formatCidr(networkOf(range));
  if (formatCidr(range) !== canonical) throw wrong(`host bits are set; did you mean ${canonical}?`);
  if (range.prefix < PREFIX || range.prefix > NARROWEST)
    throw wrong(`use a network of /${PREFIX} to /${NARROWEST}: its lower half is for members`);
  if (!ALLOWED.some((pool) => covers(pool, range)))
    throw wrong(`use private or shared addresses: a part of ${ALLOWED.map(formatCidr).join(', ')}`);
  return canonical;
}

/** A uniformly random integer in [0, limit). `limit` is at most 2^16. */
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
