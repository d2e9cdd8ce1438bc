import { type Cidr, formatCidr, networkOf } from '../../ip/cidr.js';
import type { DeviceName } from '../net/link.js';
import { type Forwarding, type ForwardingFacts, forwardingWishes } from './forwarding.js';
import { idOf, THERE, type Wish } from './things.js';

/** The state that one tunnel wants of a machine. */
export interface DesiredHost {
  readonly device?: DesiredDevice | undefined;
  readonly forwarding?: Forwarding | undefined;
}

/** The tunnel's own device. */
export interface DesiredDevice {
  /** Whether to set it up. Otherwise it is left as it is. */
  readonly up: boolean;
  /** In bytes; undefined leaves it as it is. */
  readonly mtu?: number | undefined;
  readonly addresses: readonly Cidr[];
  /** Whether the kernel must not make routes to the networks of these addresses. */
  readonly bareAddresses?: boolean | undefined;
  readonly routes: readonly DesiredRoute[];
}

/** A route through the device, without a gateway. */
export interface DesiredRoute {
  readonly destination: Cidr;
  /** Any if not given, and then the kernel's choice. */
  readonly metric?: number | undefined;
}

/** In the order to set them. */
export function wishesOf(desired: DesiredHost, device: DeviceName, facts: ForwardingFacts): Wish[] {
  const { device: link, forwarding } = desired;
  return [
    ...(forwarding === undefined ? [] : forwardingWishes(device.name, forwarding, facts)),
    ...(link === undefined ? [] : deviceWishes(link, device, facts)),
  ];
}

/** A device that goes down loses its routes and IPv6 addresses. A route needs it up, an IPv6 address needs its MTU. */
function deviceWishes(
  { up, mtu, addresses, bareAddresses, routes }: DesiredDevice,
  device: DeviceName,
  facts: ForwardingFacts,
): Wish[] {
  const state: Wish = { thing: { kind: 'state', device }, value: 'up' };
  const needs = up ? [idOf(state.thing)] : [];
  // If it was off from the beginning, it stays off.
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
