import { existsSync } from 'node:fs';
import { type CableEnd, connect, Namespace } from '../linux/process/namespace.js';
import { runProgram } from '../linux/process/program.js';

/**
 * What the home router does to packets that leave the home:
 *   none: it routes them, and the internet has routes to the home's addresses;
 *   easy: masquerade, which keeps the port where it can;
 *   hard: masquerade with a random port for each destination.
 */
export type Nat = 'none' | 'easy' | 'hard';

export interface TopologyOptions {
  /** A prefix of the namespaces' names, so that several topologies can exist at once. At most 20 letters. */
  readonly prefix?: string;
  readonly nat?: Nat;
  /** How many homes there are, 1 to 8, each with a laptop behind a router. All use the same private addresses. */
  readonly homes?: number;
  /** Bytes, of every cable. */
  readonly mtu?: number;
}

export interface Home {
  readonly laptop: Namespace;
  readonly router: Namespace;
  /** The router's address on the internet, which the NAT gives to the laptop's packets. */
  readonly public4: string;
  readonly public6: string;
}

/** The hosts' addresses. All homes have the same ones. */
export const ADDRESS = {
  laptop: { v4: '192.168.1.23', v6: 'fd00:192:168:1::23' },
  homeRouter: { v4: '192.168.1.1', v6: 'fd00:192:168:1::1' },
  /** The gateway's public address. */
  office: { v4: '203.0.113.5', v6: '2001:db8:203::5' },
  gateway: { v4: '192.168.50.1', v6: 'fd00:192:168:50::1' },
  server: { v4: '192.168.50.10', v6: 'fd00:192:168:50::10' },
} as const;

/** The office's private networks, which the tunnel makes reachable. */
export const OFFICE_LAN = { v4: '192.168.50.0/24', v6: 'fd00:192:168:50::/64' } as const;

/**
 * Homes and an office, with the internet between them, as network namespaces:
 *
 *     laptop eth0 ── lan router wan ── home0 internet office ── wan gateway lan ── eth0 server
 *
 * The internet has routes to public addresses only. Neither end has a route to the other's private network.
 */
export class Topology {
  readonly homes: readonly Home[];
  readonly internet: Namespace;
  readonly gateway: Namespace;
  readonly server: Namespace;

  private constructor(namespaces: readonly Namespace[]) {
    const [internet, gateway, server, ...rest] = namespaces;
    this.internet = internet!;
    this.gateway = gateway!;
    this.server = server!;
    this.homes = Array.from({ length: rest.length / 2 }, (_, i) => ({
      laptop: rest[2 * i]!,
      router: rest[2 * i + 1]!,
      public4: `198.51.100.${16 * i + 7}`,
      public6: `2001:db8:51:${i}::7`,
    }));
  }

  /**
   * Builds it all. If something fails, it removes what it has built.
   *
   * @throws LametunError
   */
  static build({ prefix = '', nat = 'hard', homes = 1, mtu = 1500 }: TopologyOptions = {}): Topology {
    if (!Number.isInteger(homes) || homes < 1 || homes > 8) throw new RangeError('homes must be 1 to 8');
    const names = ['internet', 'gateway', 'server'];
    for (let i = 0; i < homes; i++) names.push(homeName('laptop', i), homeName('home-router', i));
    const topology = new Topology(Namespace.createAll(names.map((name) => `${prefix}${name}`)));
    try {
      topology.#office(mtu);
      for (const [i, home] of topology.homes.entries()) topology.#home(home, i, nat, mtu);
    } catch (error) {
      topology.remove();
      throw error;
    }
    return topology;
  }

  /** The laptop of the first home. */
  get laptop(): Namespace {
    return this.homes[0]!.laptop;
  }

  get namespaces(): readonly Namespace[] {
    const ofHomes = this.homes.flatMap(({ laptop, router }) => [laptop, router]);
    return [...ofHomes, this.internet, this.gateway, this.server];
  }

  /** Removes the names. The namespaces go with the last process inside. */
  remove(): void {
    for (const namespace of this.namespaces) namespace.remove();
  }

  #office(mtu: number): void {
    const { internet, gateway, server } = this;
    const here = { v4: '203.0.113.1', v6: '2001:db8:203::1' };
    internet.sysctl(forwarding());
    connect(end(internet, 'office', here), end(gateway, 'wan', ADDRESS.office, here), mtu);
    connect(end(gateway, 'lan', ADDRESS.gateway), end(server, 'eth0', ADDRESS.server, ADDRESS.gateway), mtu);
  }

  #home({ laptop, router, public4, public6 }: Home, index: number, nat: Nat, mtu: number): void {
    const here = { v4: `198.51.100.${16 * index + 1}`, v6: `2001:db8:51:${index}::1` };
    const there = { v4: public4, v6: public6 };
    router.sysctl(forwarding());
    connect(
      end(this.internet, `home${index}`, here, undefined, 28),
      end(router, 'wan', there, here, 28),
      mtu,
    );
    connect(
      end(router, 'lan', ADDRESS.homeRouter),
      end(laptop, 'eth0', ADDRESS.laptop, ADDRESS.homeRouter),
      mtu,
    );
    if (nat === 'none') {
      this.internet.ip([`route add ${ADDRESS.laptop.v4}/32 via ${public4}`]);
      if (hasIpv6()) this.internet.ip([`route add ${ADDRESS.laptop.v6}/128 via ${public6}`]);
    } else runProgram('ip', ['netns', 'exec', router.name, 'nft', '-f', '-'], { input: natRules(nat) });
  }
}

const homeName = (name: string, index: number): string => (index === 0 ? name : `${name}-${index + 1}`);

/** Where a machine has IPv6 switched off, these networks have none either. */
const hasIpv6 = (): boolean => existsSync('/proc/sys/net/ipv6');

interface AddressPair {
  readonly v4: string;
  readonly v6: string;
}

/**
 * One end of a cable.
 *
 * @param gateway of the default route through this end
 * @param prefix of the IPv4 network
 */
function end(
  namespace: Namespace,
  device: string,
  own: AddressPair,
  gateway?: AddressPair,
  prefix = 24,
): CableEnd {
  const via = gateway === undefined ? [] : hasIpv6() ? [gateway.v4, gateway.v6] : [gateway.v4];
  return {
    ...{ namespace, device },
    addresses: [`${own.v4}/${prefix}`, ...(hasIpv6() ? [`${own.v6}/64`] : [])],
    routes: via.map((address) => ({ to: 'default', via: address })),
  };
}

/** A router. Reverse path filtering is off, since its default depends on the machine. */
const forwarding = (): Record<string, number> => ({
  'net.ipv4.ip_forward': 1,
  'net.ipv4.conf.all.rp_filter': 0,
  'net.ipv4.conf.default.rp_filter': 0,
  ...(hasIpv6() ? { 'net.ipv6.conf.all.forwarding': 1 } : {}),
});

/** Like a home router, it drops unsolicited packets to itself. Answers to them would take ports that the home needs. */
const natRules = (nat: Exclude<Nat, 'none'>): string => `
table inet nat {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade${nat === 'hard' ? ' fully-random' : ''}
  }
  chain input {
    type filter hook input priority filter;
    iifname "wan" ct state new meta l4proto { tcp, udp } drop
  }
}
`;
