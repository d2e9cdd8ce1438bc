import { LametunError } from '../../errors.js';
import { ERRNO, LinuxError } from '../ffi/errno.js';
import { type Hints, type NetlinkSocket, rtnetlink } from './netlink.js';
import { Attributes, MessageWriter, type NetlinkMessage, NLM_F } from './netlink-message.js';

/** linux/rtnetlink.h, linux/if_link.h, linux/if.h. */
export const RTM = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  setLink: 19,
  newNamespaceId: 88,
  getNamespaceId: 90,
} as const;
const IFLA = { name: 3, mtu: 4, linkInfo: 18, infoKind: 1, targetNamespaceId: 46 } as const;
/** linux/net_namespace.h; the messages begin with a struct rtgenmsg, one byte. */
const NETNSA = { id: 1, fd: 3, header: 1, attributes: 4 } as const;
const NO_ID = -1;
const AF_UNSPEC = 0;
const IFF_UP = 0x1;
const IFF_LOWER_UP = 0x10000;

/** struct ifinfomsg, linux/rtnetlink.h: family u8, type u16 @2, index i32 @4, flags u32 @8, change u32 @12. */
const IFINFOMSG = { family: 0, type: 2, index: 4, flags: 8, change: 12, size: 16 } as const;

/** An interface. The number identifies it, because no later one gets it; the name is for messages. */
export interface DeviceName {
  readonly index: number;
  readonly name: string;
}

/** The state of a network interface when it was read. */
export interface Link extends DeviceName {
  /** In bytes. */
  readonly mtu: number;
  /** Whether it is set up, `ip link set up`. */
  readonly up: boolean;
  /** Whether it can carry packets: it is up, and so is the device below it. For TUN: a program has it open. */
  readonly carrier: boolean;
  /** IFF_* of linux/if.h. */
  readonly flags: number;
  /** `tun`, `veth`, `bridge`; undefined for hardware. */
  readonly kind: string | undefined;
}

/**
 * The interface with this name or index, or undefined.
 *
 * @param socket a socket of another namespace than the calling thread's
 */
export function findLink(device: string | number, socket?: NetlinkSocket): Link | undefined {
  const message = linkMessage(RTM.getLink, device);
  const what = `look for ${nameOf(device)}`;
  try {
    const [answer] = socket === undefined ? rtnetlink(message, what) : socket.request(message, what);
    return answer === undefined ? undefined : readLink(answer);
  } catch (error) {
    if (error instanceof LinuxError && error.errno === ERRNO.ENODEV) return undefined;
    throw error;
  }
}

/**
 * The interface with this name in another network namespace, or undefined. The thread does not enter the namespace:
 * that would need CAP_SYS_ADMIN, and a socket left there would keep the namespace alive.
 *
 * @param namespace a descriptor of it
 * @throws LinuxError EPERM without CAP_NET_ADMIN, EINVAL before Linux 4.15 or so
 */
export function findLinkElsewhere(name: string, namespace: number): Link | undefined {
  const id = namespaceId(namespace) ?? makeNamespaceId(namespace);
  const message = linkMessage(RTM.getLink, name).u32(IFLA.targetNamespaceId, id);
  try {
    const [answer] = rtnetlink(message, `look for ${name} in another network namespace`);
    return answer === undefined ? undefined : readLink(answer);
  } catch (error) {
    if (error instanceof LinuxError && error.errno === ERRNO.ENODEV) return undefined;
    throw error;
  }
}

/** The number of another network namespace in this one; undefined if it has none yet. */
function namespaceId(namespace: number): number | undefined {
  const message = new MessageWriter(RTM.getNamespaceId, NLM_F.request | NLM_F.ack, NETNSA.header);
  const [answer] = rtnetlink(message.u32(NETNSA.fd, namespace), 'RTM_GETNSID');
  const id = answer && new Attributes(answer.payload, NETNSA.attributes).u32(NETNSA.id);
  return id === undefined || (id | 0) === NO_ID ? undefined : id;
}

function makeNamespaceId(namespace: number): number {
  const message = new MessageWriter(RTM.newNamespaceId, NLM_F.request | NLM_F.ack, NETNSA.header);
  rtnetlink(message.u32(NETNSA.fd, namespace).u32(NETNSA.id, NO_ID >>> 0), 'RTM_NEWNSID');
  return namespaceId(namespace) ?? 0;
}

/**
 * Sets an interface's MTU.
 *
 * @param mtu in bytes
 * @throws LinuxError ENODEV, EINVAL if the device cannot have that MTU, EPERM
 */
export function setLinkMtu({ index, name }: DeviceName, mtu: number): void {
  const message = linkMessage(RTM.setLink, index).u32(IFLA.mtu, mtu);
  rtnetlink(message, `set the MTU of ${name} to ${mtu}`, {
    ...deviceHints(name),
    [ERRNO.EINVAL]: 'that device cannot have that MTU: choose another',
  });
}

/** @throws LinuxError ENODEV, EPERM */
export function setLinkUp({ index, name }: DeviceName, up: boolean): void {
  const message = linkMessage(RTM.setLink, index);
  message.fixed.setUint32(IFINFOMSG.flags, up ? IFF_UP : 0, true);
  message.fixed.setUint32(IFINFOMSG.change, IFF_UP, true);
  rtnetlink(message, `set ${name} ${up ? 'up' : 'down'}`, deviceHints(name));
}

/** Reads an RTM_NEWLINK or RTM_DELLINK; undefined if it is a different message or cut short. */
export function readLink({ type, payload }: NetlinkMessage): Link | undefined {
  if ((type !== RTM.newLink && type !== RTM.delLink) || payload.byteLength < IFINFOMSG.size) return undefined;
  // Bridges and IPv6 use the same types: a port that leaves its bridge is not a removed device.
  if (payload.getUint8(IFINFOMSG.family) !== AF_UNSPEC) return undefined;
  const attributes = new Attributes(payload, IFINFOMSG.size);
  const flags = payload.getUint32(IFINFOMSG.flags, true);
  return {
    index: payload.getInt32(IFINFOMSG.index, true),
    name: attributes.text(IFLA.name) ?? '',
    mtu: attributes.u32(IFLA.mtu) ?? 0,
    up: (flags & IFF_UP) !== 0,
    carrier: (flags & IFF_LOWER_UP) !== 0,
    flags,
    kind: attributes.nested(IFLA.linkInfo).text(IFLA.infoKind),
  };
}

/** Advice for a request about a device that does not exist. */
export const deviceHints = (name: string): Hints => ({
  [ERRNO.ENODEV]: `there is no device ${name}: \`ip link\` lists all devices`,
});

const nameOf = (device: string | number): string =>
  typeof device === 'string' ? device : `device number ${device}`;

function linkMessage(type: number, device: string | number): MessageWriter {
  const message = new MessageWriter(type, NLM_F.request | NLM_F.ack, IFINFOMSG.size);
  if (typeof device === 'number') message.fixed.setInt32(IFINFOMSG.index, device, true);
  else message.text(IFLA.name, device);
  return message;
}

/**
 * Allows the same names as `wg-quick`: those that the kernel allows and that never need quoting, not even for nft.
 *
 * @throws LametunError `usage`
 */
export function checkDeviceName(name: string): void {
  if (/^[a-zA-Z0-9_=+.-]{1,15}$/.test(name) && name !== '.' && name !== '..') return;
  throw new LametunError(
    'usage',
    `"${name}" cannot be a device's name: use 1 to 15 letters, digits or any of _=+.-`,
  );
}
