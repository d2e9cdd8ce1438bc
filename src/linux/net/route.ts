import { readFileSync } from 'node:fs';
import { formatAddress, type IpAddress } from '../../ip/address.js';
import { type Cidr, formatCidr, networkOf } from '../../ip/cidr.js';
import { ERRNO, LinuxError } from '../ffi/errno.js';
import { type DeviceName, deviceHints, findLink } from './link.js';
import { type Hints, listBoth, rtnetlink } from './netlink.js';
import { Attributes, MessageWriter, type NetlinkMessage, NLM_F } from './netlink-message.js';
import { MAIN_TABLE } from './routing.js';
import { AF, familyOf } from './socket-address.js';

/** linux/rtnetlink.h. */
const RTM = { newRoute: 24, delRoute: 25, getRoute: 26 } as const;
const RTA = {
  destination: 1,
  source: 2,
  oif: 4,
  gateway: 5,
  priority: 6,
  preferredSource: 7,
  metrics: 8,
  multipath: 9,
  table: 15,
  mark: 16,
  /** A gateway of the other family: family u16, then the address. */
  via: 18,
} as const;
const RTAX_MTU = 2;
const RTPROT_BOOT = 3; // what `ip route add` says, too
const RT_SCOPE = { universe: 0, link: 253, nowhere: 255 } as const;
/** A route's type. `throw` ends the look-up in its table; the others, except broadcasts, refuse the packet. */
export const RTN = { unicast: 1, local: 2, blackhole: 6, unreachable: 7, prohibit: 8, throw: 9 } as const;

/**
 * struct rtmsg, linux/rtnetlink.h: family u8, destination's prefix u8, source's prefix u8, tos u8, table u8,
 * protocol u8, scope u8, type u8, flags u32.
 */
const RTMSG = {
  family: 0,
  prefix: 1,
  sourcePrefix: 2,
  table: 4,
  protocol: 5,
  scope: 6,
  type: 7,
  flags: 8,
  size: 12,
} as const;

export interface Route {
  readonly destination: Cidr;
  /** Without one, the destination is on the link itself. */
  readonly gateway: IpAddress | undefined;
  /** The device's index; undefined for a route through several, or through none (`blackhole`). */
  readonly device: number | undefined;
  /** The indices of all its devices. */
  readonly devices: readonly number[];
  /** The route with the lowest metric wins. */
  readonly metric: number;
  readonly table: number;
  /** The source address of packets that do not have one yet. */
  readonly preferredSource: IpAddress | undefined;
  /** RTN_*: 1 is an ordinary route, 2 an address of this machine. */
  readonly type: number;
  /** RTPROT_*: 2 made by the kernel with an address, 3 by hand, 16 by DHCP. */
  readonly protocol: number;
}

/** How packets to an address leave this machine. */
export interface ChosenRoute {
  /** The device's index. */
  readonly device: number;
  readonly deviceName: string;
  readonly gateway: IpAddress | undefined;
  /** Their source address. */
  readonly preferredSource: IpAddress | undefined;
  /** Whether the address is this machine's own. */
  readonly local: boolean;
  /**
   * The largest IP packet that is known to fit, in bytes: the route's MTU, one learned from ICMP, or the device's. The
   * path may be narrower further on. For this machine's own addresses, the loopback's 65536.
   */
  readonly pathMtu: number;
}

/**
 * Adds a route to the main table, through a device and without a gateway. Host bits of the destination are ignored.
 *
 * @param options.metric 0 for IPv4 and 1024 for IPv6 unless given
 * @param options.replaces whether to replace a route with the same destination and metric
 * @throws LinuxError EEXIST if there is one with this destination and metric through any device; ENETDOWN if the device
 *   is down; ENODEV; EPERM
 */
export function addRoute(
  device: DeviceName,
  destination: Cidr,
  { metric, replaces }: { readonly metric?: number | undefined; readonly replaces?: boolean } = {},
): void {
  const how = replaces ? NLM_F.replace : NLM_F.exclusive;
  const message = routeMessage(RTM.newRoute, NLM_F.create | how, device, destination, metric);
  message.fixed.setUint8(RTMSG.protocol, RTPROT_BOOT);
  message.fixed.setUint8(RTMSG.type, RTN.unicast);
  message.fixed.setUint8(RTMSG.scope, destination.address.length === 4 ? RT_SCOPE.link : RT_SCOPE.universe);
  rtnetlink(message, `add route ${formatCidr(networkOf(destination))} through ${device.name}`, {
    ...deviceHints(device.name),
    [ERRNO.ENETDOWN]: `set the device up first: \`ip link set ${device.name} up\``,
    [ERRNO.EEXIST]: 'there is a route to that network already: `ip route` shows it',
  });
}

/**
 * Removes a route of the main table through a device, with any metric if none is given.
 *
 * @throws LinuxError ESRCH if there is none; ENODEV; EPERM
 */
export function removeRoute(device: DeviceName, destination: Cidr, metric?: number): void {
  const message = routeMessage(RTM.delRoute, 0, device, destination, metric);
  message.fixed.setUint8(RTMSG.scope, RT_SCOPE.nowhere); // any
  const hints: Hints = { ...deviceHints(device.name), [ERRNO.ESRCH]: 'there is no such route' };
  rtnetlink(message, `remove route ${formatCidr(networkOf(destination))} through ${device.name}`, hints);
}

/** The routes of the main table that lead through this device only. */
export const listDeviceRoutes = (device: number): Route[] =>
  listAllRoutes((message) => message.u32(RTA.oif, device)).filter(
    (route) => route.table === MAIN_TABLE && route.device === device, // old kernels ignore the filter
  );

/**
 * The IPv4 and IPv6 routes of all tables, with those for this machine's own addresses (`ip route show table all`).
 *
 * @param complete adds filters to a request
 */
export const listAllRoutes = (complete?: (message: MessageWriter) => void): Route[] =>
  listBoth(RTM.getRoute, RTMSG.size, 'list the routes', complete).flatMap(
    (answer) => readRoute(answer) ?? [],
  );

/** A request for the route of packets to an address. @param mark their firewall mark, 0 for none */
export function routeRequest(to: IpAddress, mark: number, from?: IpAddress): MessageWriter {
  const message = new MessageWriter(RTM.getRoute, NLM_F.request | NLM_F.ack, RTMSG.size);
  message.fixed.setUint8(RTMSG.family, familyOf(to));
  message.fixed.setUint8(RTMSG.prefix, to.length * 8);
  message.attribute(RTA.destination, to);
  if (from !== undefined) {
    message.fixed.setUint8(RTMSG.sourcePrefix, from.length * 8);
    message.attribute(RTA.source, from);
  }
  if (mark !== 0) message.u32(RTA.mark, mark);
  return message;
}

/**
 * Finds how packets to an address would leave.
 *
 * @param mark their firewall mark, for routing rules
 * @returns undefined if there is no route, or an `unreachable` one
 * @throws LinuxError
 */
export function routeTo(address: IpAddress, mark = 0): ChosenRoute | undefined {
  let answer: NetlinkMessage | undefined;
  try {
    [answer] = rtnetlink(routeRequest(address, mark), `look up the route to ${formatAddress(address)}`);
  } catch (error) {
    if (error instanceof LinuxError && UNREACHABLE.has(error.errno)) return undefined;
    throw error;
  }
  const route = answer === undefined ? undefined : readRoute(answer);
  if (answer === undefined || route?.device === undefined) return undefined;
  if (route.type !== RTN.unicast && route.type !== RTN.local) return undefined;
  const link = findLink(route.device);
  if (link === undefined) return undefined;
  const routeMtu = new Attributes(answer.payload, RTMSG.size).nested(RTA.metrics).u32(RTAX_MTU);
  const deviceMtu = address.length === 16 ? Math.min(link.mtu, advertisedMtu(link.name)) : link.mtu;
  return {
    device: link.index,
    deviceName: link.name,
    gateway: route.gateway,
    preferredSource: route.preferredSource,
    local: route.type === RTN.local,
    pathMtu: routeMtu || deviceMtu,
  };
}

/** The kernel's errnos for no route, `unreachable`, `prohibit` and `blackhole`: fib_props, fib_semantics.c. */
const UNREACHABLE: ReadonlySet<number> = new Set([
  ERRNO.ENETUNREACH,
  ERRNO.EHOSTUNREACH,
  ERRNO.EACCES,
  ERRNO.EINVAL,
]);

/** The MTU that a link's IPv6 router advertises. It does not change the device's own MTU. */
function advertisedMtu(device: string): number {
  try {
    return Number(readFileSync(`/proc/sys/net/ipv6/conf/${device}/mtu`, 'utf8'));
  } catch {
    return Number.POSITIVE_INFINITY; // no IPv6 on that device, or no /proc
  }
}

/** Reads an RTM_NEWROUTE; undefined if it is a different message or cut short. */
export function readRoute({ type, payload }: NetlinkMessage): Route | undefined {
  if (type !== RTM.newRoute || payload.byteLength < RTMSG.size) return undefined;
  const family = payload.getUint8(RTMSG.family);
  if (family !== AF.inet && family !== AF.inet6) return undefined;
  const attributes = new Attributes(payload, RTMSG.size);
  const device = attributes.u32(RTA.oif);
  return {
    destination: {
      address: attributes.bytes(RTA.destination) ?? new Uint8Array(family === AF.inet ? 4 : 16),
      prefix: payload.getUint8(RTMSG.prefix),
    },
    device,
    devices: device === undefined ? nextHops(attributes.bytes(RTA.multipath)) : [device],
    gateway: attributes.bytes(RTA.gateway) ?? attributes.bytes(RTA.via)?.slice(2),
    metric: attributes.u32(RTA.priority) ?? 0,
    table: attributes.u32(RTA.table) ?? payload.getUint8(RTMSG.table),
    preferredSource: attributes.bytes(RTA.preferredSource),
    type: payload.getUint8(RTMSG.type),
    protocol: payload.getUint8(RTMSG.protocol),
  };
}

/**
 * The devices of a route through several: each struct rtnexthop is length u16, flags u8, hops u8, device i32,
 * attributes.
 */
function nextHops(bytes: Uint8Array | undefined): number[] {
  if (bytes === undefined) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: number[] = [];
  for (let at = 0; at + RTNEXTHOP_SIZE <= bytes.length; ) {
    found.push(view.getInt32(at + 4, true));
    at += Math.max(RTNEXTHOP_SIZE, (view.getUint16(at, true) + 3) & -4);
  }
  return found;
}

const RTNEXTHOP_SIZE = 8;

function routeMessage(
  type: number,
  flags: number,
  device: DeviceName,
  destination: Cidr,
  metric: number | undefined,
): MessageWriter {
  const { address, prefix } = networkOf(destination);
  const message = new MessageWriter(type, NLM_F.request | NLM_F.ack | flags, RTMSG.size);
  message.fixed.setUint8(RTMSG.family, familyOf(address));
  message.fixed.setUint8(RTMSG.prefix, prefix);
  message.fixed.setUint8(RTMSG.table, MAIN_TABLE);
  if (prefix > 0) message.attribute(RTA.destination, address);
  message.u32(RTA.oif, device.index);
  return metric === undefined ? message : message.u32(RTA.priority, metric);
}
