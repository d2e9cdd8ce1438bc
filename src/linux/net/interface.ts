import { type Cidr, formatCidr } from '../../ip/cidr.js';
import { ERRNO, LinuxError } from '../ffi/errno.js';
import { type DeviceName, deviceHints, findLink, type Link, setLinkMtu } from './link.js';
import { rtnetlink } from './netlink.js';
import { Attributes, MessageWriter, type NetlinkMessage, NLM_F } from './netlink-message.js';
import { familyOf } from './socket-address.js';

/** linux/rtnetlink.h, linux/if_addr.h. */
const RTM = { newAddress: 20, delAddress: 21, getAddress: 22 } as const;
const IFA = { address: 1, local: 2, flags: 8 } as const;
const IFA_F_NODAD = 0x2;
const IFA_F_NOPREFIXROUTE = 0x200;

/** struct ifaddrmsg, linux/if_addr.h: family u8, prefix u8, flags u8, scope u8, index u32. */
const IFADDRMSG = { family: 0, prefix: 1, flags: 2, scope: 3, index: 4, size: 8 } as const;

/**
 * One network interface: its addresses, routes, MTU and state. It is identified by its number, which the kernel never
 * reuses, so that changes are undone at this interface even if another one has its name now.
 *
 * Every call asks the kernel, in the network namespace of the calling thread.
 */
export class NetworkInterface implements DeviceName {
  readonly index: number;
  /** Its name when it was found; interfaces can be renamed. */
  readonly name: string;

  private constructor(link: Link) {
    this.index = link.index;
    this.name = link.name;
  }

  /** @throws LinuxError ENODEV if there is no such interface */
  static open(device: string | number): NetworkInterface {
    const link = findLink(device);
    if (link === undefined) throw noDevice(`look for ${device}`, `${device}`);
    return new NetworkInterface(link);
  }

  /** @throws LinuxError ENODEV if it is gone */
  link(): Link {
    const link = findLink(this.index);
    if (link === undefined) throw noDevice(`look for ${this.name}`, this.name);
    return link;
  }

  /**
   * @param mtu in bytes
   * @throws LinuxError ENODEV, EINVAL, EPERM
   */
  setMtu(mtu: number): void {
    setLinkMtu(this, mtu);
  }

  addresses(): Cidr[] {
    return listAddresses(this.index);
  }
}

/** The addresses of a device. */
export function listAddresses(device: number): Cidr[] {
  const message = new MessageWriter(RTM.getAddress, NLM_F.request | NLM_F.dump, IFADDRMSG.size);
  return rtnetlink(message, `list the addresses of device number ${device}`).flatMap((answer) => {
    const found = readAddress(answer);
    return found?.index === device ? [found.address] : [];
  });
}

/**
 * Adds an address, and with it the kernel's route to its network. An IPv6 address is usable at once, without duplicate
 * address detection: nobody else on a tunnel can have it.
 *
 * @param isBare without the route
 * @throws LinuxError EEXIST if the device has it already, so that the caller must not remove it; ENODEV; EPERM
 */
export function addAddress(device: DeviceName, address: Cidr, isBare = false): void {
  const { name } = device;
  const message = addressMessage(RTM.newAddress, NLM_F.create | NLM_F.exclusive, device, address);
  const flags = (address.address.length === 16 ? IFA_F_NODAD : 0) | (isBare ? IFA_F_NOPREFIXROUTE : 0);
  if (flags !== 0) message.u32(IFA.flags, flags);
  rtnetlink(message, `add address ${formatCidr(address)} to ${name}`, {
    ...deviceHints(name),
    [ERRNO.EEXIST]: 'the device has it already',
    [ERRNO.EACCES]: `IPv6 is switched off for it: \`sysctl -w net/ipv6/conf/${name}/disable_ipv6=0\``,
  });
}

/**
 * Removes an address. With the first IPv4 address of a network, the kernel also removes the others of that network,
 * unless the sysctl promote_secondaries is set.
 *
 * @throws LinuxError EADDRNOTAVAIL if the device does not have it; ENODEV; EPERM
 */
export function removeAddress(device: DeviceName, address: Cidr): void {
  const message = addressMessage(RTM.delAddress, 0, device, address);
  rtnetlink(message, `remove address ${formatCidr(address)} from ${device.name}`, {
    ...deviceHints(device.name),
    [ERRNO.EADDRNOTAVAIL]: 'the device does not have it',
  });
}

function addressMessage(
  type: number,
  flags: number,
  { index }: DeviceName,
  { address, prefix }: Cidr,
): MessageWriter {
  const message = new MessageWriter(type, NLM_F.request | NLM_F.ack | flags, IFADDRMSG.size);
  message.fixed.setUint8(IFADDRMSG.family, familyOf(address));
  message.fixed.setUint8(IFADDRMSG.prefix, prefix);
  message.fixed.setUint32(IFADDRMSG.index, index, true);
  return message.attribute(IFA.local, address).attribute(IFA.address, address);
}

const noDevice = (what: string, name: string): LinuxError =>
  new LinuxError(what, ERRNO.ENODEV, deviceHints(name)[ERRNO.ENODEV]);

/** Reads an RTM_NEWADDR; undefined if it is a different message or cut short. */
export function readAddress({
  type,
  payload,
}: NetlinkMessage): { readonly index: number; readonly address: Cidr } | undefined {
  if (type !== RTM.newAddress || payload.byteLength < IFADDRMSG.size) return undefined;
  const attributes = new Attributes(payload, IFADDRMSG.size);
  // On a point-to-point link, IFA_ADDRESS is the other end's and IFA_LOCAL is ours. IPv6 mostly has only the first.
  const address = attributes.bytes(IFA.local) ?? attributes.bytes(IFA.address);
  if (address === undefined || (address.length !== 4 && address.length !== 16)) return undefined;
  return {
    index: payload.getUint32(IFADDRMSG.index, true),
    address: { address, prefix: payload.getUint8(IFADDRMSG.prefix) },
  };
}
