import { readdirSync } from 'node:fs';
import type { Cidr } from '../../ip/cidr.js';
import { readSysctl } from '../process/sysctl.js';
import { type Families, limitedTable, openTable, tableName } from './forwarding-rules.js';
import { idOf, type Thing, type Wish } from './things.js';

/*
 * What `--forward` needs on the machine at the office, and a share on its node:
 *
 *  - the kernel forwards packets (a setting of the namespace, shared by everyone in it),
 *  - packets from the tunnel to the LAN get the gateway's own address, so that the LAN needs no route back (nftables,
 *    one table for each device),
 *  - TCP connections through the tunnel agree on segments that fit into it,
 *  - with a list of destinations, nothing else behind the machine can be reached through it: forwarding-rules.ts.
 *
 * Other programs' rules stay: a firewall that drops forwarded packets still does. Nothing is forwarded before the table
 * is in place, or after it cannot be kept. Needs Linux 5.7, root, and the program `nft`.
 */

export type { Families } from './forwarding-rules.js';

/** For the plain tunnel: everything that comes out of the device is forwarded. */
export interface OpenForwarding {
  readonly families: Families;
  readonly destinations?: undefined;
}

/** For a network: only packets to shared networks are forwarded. */
export interface LimitedForwarding {
  /** The networks that others may reach through this machine. Without any, no kernel setting is changed. */
  readonly destinations: readonly Cidr[];
}

export type Forwarding = OpenForwarding | LimitedForwarding;

/** What forwarding needs to know about this machine. */
export interface ForwardingFacts {
  /** The device's current name. */
  readonly device: string;
  /** The devices to the Internet. */
  readonly outside: readonly string[];
  /** A setting's value before lametun changed it. */
  readonly settingFound: (name: string) => string | undefined;
  /** Whether this tunnel has changed a setting, and not restored it. */
  readonly isSet: (name: string) => boolean;
}

/** @param device its first name, which the table is named after */
export function forwardingWishes(device: string, forwarding: Forwarding, facts: ForwardingFacts): Wish[] {
  const table: Thing = { kind: 'table', name: tableName(device) };
  const isOpen = forwarding.destinations === undefined;
  const text = isOpen
    ? openTable(facts.device, forwarding.families, table.name)
    : limitedTable(facts.device, forwarding.destinations, facts.outside, table.name);
  const { ipv4, ipv6 } = isOpen ? forwarding.families : familiesOf(forwarding.destinations);
  const unreached = 'the networks behind this machine cannot be reached through it';
  const effect = isOpen
    ? unreached
    : (openByIpv6(facts) ?? (ipv4 || ipv6 ? unreached : 'nothing behind this machine is reached through it'));
  const common = { needs: [idOf(table)], failsClosed: true, effect };
  return [
    { thing: table, value: text, effect },
    ...(ipv4 ? [{ ...common, thing: setting(IPV4_FORWARD), value: '1' }] : []),
    ...ownSetting(table, ipv4, facts),
    ...(ipv6 ? ipv6Settings(facts) : []).map(([name, value]) => ({ ...common, thing: setting(name), value })),
  ];
}

const setting = (name: string): Thing => ({ kind: 'setting', name });

/** The consequence of a missing table where the kernel forwards anyway. */
function openByIpv6({ settingFound, isSet }: ForwardingFacts): string | undefined {
  const byOthers =
    settingFound(IPV6_FORWARD) === '1' || (readSysctl(IPV6_FORWARD) === '1' && !isSet(IPV6_FORWARD));
  return byOthers
    ? 'this machine forwards IPv6 for other programs, too: members may reach everything behind it by IPv6'
    : undefined;
}

/**
 * IPv4 forwards packets from the device only if the device's own setting allows it. On a machine that forwards for
 * others, this setting closes the way. The device need not exist yet. IPv6 has no such setting.
 */
function ownSetting(table: Thing, isForwarded: boolean, { device, settingFound }: ForwardingFacts): Wish[] {
  const name = `net/ipv4/conf/${device}/forwarding`;
  const found = settingFound(name);
  if (found === undefined || !(isForwarded || readSysctl(IPV4_FORWARD) === '1')) return [];
  return [{ thing: setting(name), value: '1', needs: [idOf(table)], failsClosed: { off: '0' } }];
}

function familiesOf(destinations: readonly Cidr[]): Families {
  const lengths = destinations.map(({ address }) => address.length);
  return { ipv4: lengths.includes(4), ipv6: lengths.includes(16) };
}

const IPV4_FORWARD = 'net/ipv4/ip_forward';
const IPV6_FORWARD = 'net/ipv6/conf/all/forwarding';

/**
 * A host that forwards IPv6 is a router, and routers ignore other routers' advertisements: it would lose its default
 * route. `accept_ra` 2 accepts them anyway (ip-sysctl.rst). It must be set first, or the route is dropped at once.
 */
function ipv6Settings({ settingFound }: ForwardingFacts): [string, string][] {
  const advertised = (settingFound(IPV6_FORWARD) === '0' ? devicesOf('ipv6') : [])
    .map(acceptRa)
    .filter((name) => settingFound(name) === '1' && readSysctl(name) !== '0');
  return [...advertised.map((name): [string, string] => [name, '2']), [IPV6_FORWARD, '1']];
}

const acceptRa = (device: string): string => `net/ipv6/conf/${device}/accept_ra`;

/** What the kernel sets with it: inet_forward_change() in devinet.c, addrconf_fixup_forwarding() in addrconf.c. */
export function sideEffects(name: string): string[] {
  const family = name === IPV4_FORWARD ? 'ipv4' : name === IPV6_FORWARD ? 'ipv6' : undefined;
  if (family === undefined) return [];
  const forwarding = ['default', ...devicesOf(family)].map(
    (device) => `net/${family}/conf/${device}/forwarding`,
  );
  return family === 'ipv4' ? ['net/ipv4/conf/all/accept_redirects', ...forwarding] : forwarding;
}

const devicesOf = (family: 'ipv4' | 'ipv6'): string[] =>
  readdirSync(`/proc/sys/net/${family}/conf`).filter((name) => name !== 'all' && name !== 'default');
