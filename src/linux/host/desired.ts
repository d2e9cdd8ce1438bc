import { type Cidr, formatCidr, networkOf } from '../../ip/cidr.js';
import { type Forwarding, type ForwardingFacts, forwardingWishes } from './forwarding.js';
import { type DeviceName, idOf, THERE, type Wish } from './things.js';

/** What a machine should look like, as far as one tunnel is concerned. */
export interface DesiredHost {
  readonly device?: DesiredDevice | undefined;
  readonly forwarding?: Forwarding | undefined;
}

/** The tunnel's own device. */
export interface DesiredDevice {
  /** Whether it is to be set up; else it is left as it is. */
  readonly up: boolean;
  /** In bytes; undefined leaves it as it is. */
  readonly mtu?: number | undefined;
  readonly addresses: readonly Cidr[];
  /** Whether the kernel shall make no routes to the networks of these addresses. */
  readonly bareAddresses?: boolean | undefined;
  readonly routes: readonly DesiredRoute[];
}

/** A route through the device, without a gateway. */
export interface DesiredRoute {
  readonly destination: Cidr;
  /** Any, and the kernel's choice, if not given. */
  readonly metric?: number | undefined;
}

/** In the order in which they are to be set. */
export function wishesOf(desired: DesiredHost, device: DeviceName, facts: ForwardingFacts): Wish[] {
  const { device: link, forwarding } = desired;
  return [
    ...(forwarding === undefined ? [] : forwardingWishes(device.name, forwarding, facts)),
    ...(link === undefined ? [] : deviceWishes(link, device, facts)),
  ];
}

/** A device that goes down loses its routes and its IPv6 addresses; a route needs it up, and an IPv6 address its MTU. */
function deviceWishes(
  { up, mtu, addresses, bareAddresses, routes }: DesiredDevice,
  device: DeviceName,
  facts: ForwardingFacts,
): Wish[] {
  const state: Wish = { thing: { kind: 'state', device }, value: 'up' };
  const needs = up ? [idOf(state.thing)] : [];
  // Whoever has it switched off from the beginning is left with it.
  const noIpv6 = `net/ipv6/conf/${facts.device}/disable_ipv6`;
  const hasIpv6 =
    facts.settingFound(noIpv6) === '0' && addresses.some(({ address }) => address.length === 16);
  return [
    ...(hasIpv6 ? [{ thing: { kind: 'setting' as const, name: noIpv6 }, value: '0' }] : []),
    ...(mtu === undefined ? [] : [{ thing: { kind: 'mtu' as const, device }, value: `${mtu}` }]),
    ...(up ? [state] : []),
    ...addresses.map((address) => ({
      thing: {
        ...{ kind: 'address' as const, device, address: formatCidr(address) },
        ...(bareAddresses === true && { isBare: true as const }),
      },
      value: THERE,
    })),
    ...routes.map(({ destination, metric }) => ({
      thing: {
        ...{ kind: 'route' as const, device, destination: formatCidr(networkOf(destination)) },
        ...(metric !== undefined && { metric }),
      },
      value: THERE,
      needs,
    })),
  ];
}
