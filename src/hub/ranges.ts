import { type Cidr, formatCidr, networkOf, overlap } from '../ip/cidr.js';

/** A random integer from 0 to below `limit`. */
export type Random = (limit: number) => number;

/** Where a network's IPv4 range is looked for: RFC 1918, and the shared space of RFC 6598. */
const POOLS: readonly { readonly base: readonly [number, number]; readonly size: number }[] = [
  { base: [10, 0], size: 256 },
  { base: [172, 16], size: 16 },
  { base: [100, 64], size: 64 },
];

/** So common at home, in offices and in containers that a guest's machine will meet it one day. */
const AVOIDED: readonly (readonly [number, number])[] = [
  [10, 0],
  [10, 1],
  [10, 8], // OpenVPN's example
  [10, 42], // Kubernetes distributions
  [10, 43],
  [10, 88], // podman
  [10, 96],
  [10, 244],
  [172, 16],
  [172, 17], // docker, and what follows it
  [172, 18],
  [172, 19],
  [172, 20],
  [100, 100], // Tailscale's resolver
];

/** What is wider is a default route, or one of the two halves that stand in for it. */
const WIDEST = 8;

/**
 * A /16 for a new network's IPv4 addresses.
 *
 * @param taken what this machine's routes lead to; default routes take nothing
 * @returns undefined when every one collides
 */
export function chooseIpv4Range(taken: readonly Cidr[], random: Random): string | undefined {
  const all = POOLS.flatMap(({ base, size }) =>
    Array.from({ length: size }, (_, i): readonly [number, number] => [base[0], base[1] + i]),
  );
  const isAvoided = ([a, b]: readonly [number, number]): boolean =>
    AVOIDED.some(([x, y]) => a === x && b === y);
  const routes = taken.filter(({ prefix }) => prefix >= WIDEST);
  const free = all.filter(([a, b]) => !routes.some((other) => overlap(ipv4Range(a, b), other)));
  const good = free.filter((range) => !isAvoided(range));
  const choice = good.length > 0 ? good : free;
  const chosen = choice[random(choice.length)];
  return chosen === undefined ? undefined : formatCidr(ipv4Range(...chosen));
}

const ipv4Range = (a: number, b: number): Cidr => ({ address: Uint8Array.of(a, b, 0, 0), prefix: 16 });

/** A /64 for a new network's IPv6 addresses: the first of a random /48, RFC 4193. */
export function chooseIpv6Range(random: Random): string {
  const address = new Uint8Array(16);
  address[0] = 0xfd;
  for (let i = 1; i < 6; i++) address[i] = random(256);
  return formatCidr({ address, prefix: 64 });
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
