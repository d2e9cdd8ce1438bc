import { isIpv4Mapped } from '../ip/address.js';
import { errno, libc } from '../linux/ffi/libc.js';
import { allocate, type Memory } from '../linux/ffi/memory.js';
import { SOCKADDR_IN6 } from '../linux/net/socket-address.js';
import { SOL_IP, SOL_IPV6 } from '../linux/net/udp.js';

/** struct iovec, linux/uio.h: base u64, length u64. */
export const IOVEC = { base: 0, length: 8, size: 16 } as const;

/** struct mmsghdr, linux/socket.h: a msghdr of 56 bytes, then the number of bytes transferred. */
export const MMSGHDR = {
  name: 0,
  nameLength: 8,
  vectors: 16,
  vectorCount: 24,
  control: 32,
  controlLength: 40,
  flags: 48,
  transferred: 56,
  size: 64,
} as const;

/** struct cmsghdr, linux/socket.h: length u64 (header included), level i32, type i32, then the data. */
export const CMSGHDR = { length: 0, level: 8, type: 12, data: 16 } as const;

export const IP_TOS = 1;
const IP_TTL = 2;
const IP_PKTINFO = 8;
const IPV6_PKTINFO = 50;
const IPV6_HOPLIMIT = 52;
export const IPV6_TCLASS = 67;
/** linux/udp.h. */
export const SOL_UDP = 17;
const UDP_GRO = 104;
/** struct in_pktinfo, linux/in.h: interface i32, local address 4 bytes, destination in the header 4 bytes. */
export const IN_PKTINFO = { interface: 0, ours: 4, size: 12 } as const;
/** struct in6_pktinfo, linux/ipv6.h: address 16 bytes, interface u32. */
export const IN6_PKTINFO = { address: 0, interface: 16, size: 20 } as const;

/** The largest datagram. */
const MAX_DATAGRAM = 65_535;

export const NAME_ROOM = 32;
export const CONTROL_ROOM = 96;

/**
 * A peer's endpoint in memory that the kernel reads directly, with the control message that makes answers leave from
 * the address that the peer wrote to: NATs, firewalls and connected sockets insist on it. Layout of a record:
 *
 *   name, nameLength u32        the socket address
 *   control, controlLength u32  the control message; length 0 lets the kernel choose the source address
 *   relayPeer u32               the peer's id at the relay that has this address; 0 where there is no relay
 *   interface u32               the interface that the peer's datagram arrived on; 0 while it is not known
 *   aloneFrom u16               datagrams of this size and above cannot go as runs; 0 for no limit
 *   aloneLeft u16               for how many more datagrams `RunSender` respects that limit
 */
export const ENDPOINT = {
  name: 0,
  nameLength: 28,
  control: 32,
  controlLength: 72,
  relayPeer: 76,
  interface: 80,
  aloneFrom: 84,
  aloneLeft: 86,
  size: 88,
} as const;

/** Memory that this process writes, and not the kernel. */
type Writable = Pick<Memory, 'bytes' | 'view'>;

/**
 * From one slot to the next. Not a power of two: then the first bytes of all slots would compete for a few cache lines.
 */
const STRIDE = MAX_DATAGRAM + 1 + 1600;

/** Receives up to `capacity` messages with one system call, each into its own slot. */
export class ReceiveBatch {
  /** The memory that holds the datagrams: slot `i` begins at `offset(i)`. */
  readonly memory: Memory;
  readonly #headers: Memory;
  readonly #capacity: number;
  readonly #base: number;

  /**
   * @param memory for the datagrams: `ReceiveBatch.size(capacity)` bytes from `base` on; allocated unless given
   */
  constructor(capacity: number, memory: Memory = allocate(ReceiveBatch.size(capacity)), base = 0) {
    this.#capacity = capacity;
    this.#base = base;
    this.memory = memory;
    this.#headers = allocate(capacity * (MMSGHDR.size + IOVEC.size + NAME_ROOM + CONTROL_ROOM));
    const { view, address } = this.#headers;
    for (let i = 0; i < capacity; i++) {
      const header = i * MMSGHDR.size;
      const vector = capacity * MMSGHDR.size + i * IOVEC.size;
      view.setBigUint64(vector + IOVEC.base, BigInt(this.memory.address + this.offset(i)), true);
      view.setBigUint64(vector + IOVEC.length, BigInt(MAX_DATAGRAM), true);
      view.setBigUint64(header + MMSGHDR.name, BigInt(address + this.#name(i)), true);
      view.setBigUint64(header + MMSGHDR.vectors, BigInt(address + vector), true);
      view.setBigUint64(header + MMSGHDR.vectorCount, 1n, true);
      view.setBigUint64(header + MMSGHDR.control, BigInt(address + this.#control(i)), true);
    }
  }

  /** Bytes of memory that a batch needs. */
  static size(capacity: number): number {
    return capacity * STRIDE;
  }

  /**
   * @param limit how many slots may be used
   * @returns how many slots were filled, or the errno as a negative number
   */
  receive(fd: number, limit: number = this.#capacity): number {
    const { view, address } = this.#headers;
    for (let i = 0; i < limit; i++) {
      // The kernel overwrites these with the lengths that it used.
      view.setUint32(i * MMSGHDR.size + MMSGHDR.nameLength, NAME_ROOM, true);
      view.setUint32(i * MMSGHDR.size + MMSGHDR.controlLength, CONTROL_ROOM, true);
    }
    const count = libc.recvmmsg(fd, address, limit, 0, 0);
    return count >= 0 ? count : -errno();
  }

  offset(slot: number): number {
    return this.#base + slot * STRIDE;
  }

  length(slot: number): number {
    return this.#headers.view.getUint32(slot * MMSGHDR.size + MMSGHDR.transferred, true);
  }

  /** The memory that holds a sender's socket address at `senderOffset(slot)`. */
  get senderBytes(): Uint8Array {
    return this.#headers.bytes;
  }

  senderOffset(slot: number): number {
    return this.#name(slot);
  }

  /** Whether a slot's sender has the address in an `ENDPOINT` record. */
  sentBy(slot: number, endpoints: Memory, offset: number): boolean {
    const { bytes, view } = this.#headers;
    const name = this.#name(slot);
    const length = view.getUint32(slot * MMSGHDR.size + MMSGHDR.nameLength, true);
    if (endpoints.view.getUint32(offset + ENDPOINT.nameLength, true) !== length) return false;
    for (let i = 0; i < length; i++) {
      if (bytes[name + i] !== endpoints.bytes[offset + ENDPOINT.name + i]) return false;
    }
    return true;
  }

  /**
   * The size of the datagrams that the kernel has merged in a slot (UDP_GRO); the last may be shorter. The slot's
   * length if there is only one.
   */
  segmentSize(slot: number): number {
    const { view } = this.#headers;
    const used = view.getUint32(slot * MMSGHDR.size + MMSGHDR.controlLength, true);
    const start = this.#control(slot);
    for (let message = start; message + CMSGHDR.data < start + used; message = nextControl(view, message)) {
      if (view.getInt32(message + CMSGHDR.level, true) !== SOL_UDP) continue;
      if (view.getInt32(message + CMSGHDR.type, true) !== UDP_GRO) continue;
      const size = view.getInt32(message + CMSGHDR.data, true);
      if (size > 0) return size;
    }
    return this.length(slot);
  }

  /** The traffic class (IPv4: type of service) of a slot's datagrams; 0 if the socket does not report it. */
  trafficClass(slot: number): number {
    const { view } = this.#headers;
    const used = view.getUint32(slot * MMSGHDR.size + MMSGHDR.controlLength, true);
    const start = this.#control(slot);
    for (let message = start; message + CMSGHDR.data < start + used; message = nextControl(view, message)) {
      const level = view.getInt32(message + CMSGHDR.level, true);
      const type = view.getInt32(message + CMSGHDR.type, true);
      if (level === SOL_IP && type === IP_TOS) return view.getUint8(message + CMSGHDR.data);
      if (level === SOL_IPV6 && type === IPV6_TCLASS) return view.getUint8(message + CMSGHDR.data);
    }
    return 0;
  }

  /** Whether a datagram arrived at the local address and on the interface in an `ENDPOINT` record. */
  cameTo(slot: number, endpoints: Memory, offset: number): boolean {
    const { view } = this.#headers;
    const message = this.#packetInformation(slot);
    const known = endpoints.view.getUint32(offset + ENDPOINT.interface, true);
    if (message < 0 || known === 0) return message < 0 && known === 0;
    const ipv6 = view.getInt32(message + CMSGHDR.level, true) === SOL_IPV6;
    const data = message + CMSGHDR.data;
    if (view.getUint32(data + (ipv6 ? IN6_PKTINFO.interface : IN_PKTINFO.interface), true) !== known)
      return false;
    const address = CMSGHDR.data + (ipv6 ? IN6_PKTINFO.address : IN_PKTINFO.ours);
    for (let i = 0; i < (ipv6 ? 16 : 4); i += 4) {
      if (
        view.getInt32(message + address + i) !==
        endpoints.view.getInt32(offset + ENDPOINT.control + address + i)
      )
        return false;
    }
    return true;
  }

  /** Writes an `ENDPOINT` record for answers to a slot's sender, from the address that it wrote to. */
  writeEndpoint(slot: number, out: Writable, offset: number, relayPeer = 0): void {
    const { bytes, view } = this.#headers;
    const nameLength = view.getUint32(slot * MMSGHDR.size + MMSGHDR.nameLength, true);
    const name = this.#name(slot);
    for (let i = 0; i < SOCKADDR_IN6.size; i++) out.bytes[offset + i] = i < nameLength ? bytes[name + i]! : 0;
    out.view.setUint32(offset + ENDPOINT.nameLength, nameLength, true);
    out.view.setUint32(offset + ENDPOINT.controlLength, 0, true);
    out.view.setUint32(offset + ENDPOINT.relayPeer, relayPeer, true);
    out.view.setUint32(offset + ENDPOINT.interface, 0, true);
    out.view.setUint16(offset + ENDPOINT.aloneFrom, 0, true);
    const message = this.#packetInformation(slot);
    if (message >= 0) writeOurAddress(view, message, out, offset);
  }

  /** Where the control message with the local address and the interface of a datagram begins; -1 for none. */
  #packetInformation(slot: number): number {
    const { view } = this.#headers;
    const start = this.#control(slot);
    const end = start + view.getUint32(slot * MMSGHDR.size + MMSGHDR.controlLength, true);
    for (let message = start; message + CMSGHDR.data < end; message = nextControl(view, message)) {
      const level = view.getInt32(message + CMSGHDR.level, true);
      const type = view.getInt32(message + CMSGHDR.type, true);
      if ((level === SOL_IPV6 && type === IPV6_PKTINFO) || (level === SOL_IP && type === IP_PKTINFO))
        return message;
    }
    return -1;
  }

  #name(slot: number): number {
    return this.#capacity * (MMSGHDR.size + IOVEC.size) + slot * NAME_ROOM;
  }

  #control(slot: number): number {
    return this.#capacity * (MMSGHDR.size + IOVEC.size + NAME_ROOM) + slot * CONTROL_ROOM;
  }
}

/**
 * Turns the packet information of a received datagram into that of an answer. The answer names no interface, so that it
 * may leave by another when routes change.
 */
function writeOurAddress(from: DataView, message: number, out: Writable, offset: number): void {
  const data = message + CMSGHDR.data;
  const at = offset + ENDPOINT.control;
  const { view } = out;
  if (from.getInt32(message + CMSGHDR.level, true) === SOL_IPV6) {
    writeControlHeader(view, at, SOL_IPV6, IPV6_PKTINFO, IN6_PKTINFO.size);
    for (let i = 0; i < 16; i++) out.bytes[at + CMSGHDR.data + i] = from.getUint8(data + i);
    view.setUint32(at + CMSGHDR.data + IN6_PKTINFO.interface, 0, true);
    view.setUint32(offset + ENDPOINT.controlLength, CMSGHDR.data + 24, true); // the data padded to 8
    view.setUint32(offset + ENDPOINT.interface, from.getUint32(data + IN6_PKTINFO.interface, true), true);
    return;
  }
  writeControlHeader(view, at, SOL_IP, IP_PKTINFO, IN_PKTINFO.size);
  view.setUint32(at + CMSGHDR.data + IN_PKTINFO.interface, 0, true);
  view.setUint32(at + CMSGHDR.data + IN_PKTINFO.ours, from.getUint32(data + IN_PKTINFO.ours));
  view.setUint32(at + CMSGHDR.data + IN_PKTINFO.ours + 4, 0, true);
  view.setUint32(offset + ENDPOINT.controlLength, CMSGHDR.data + 16, true);
  view.setUint32(offset + ENDPOINT.interface, from.getUint32(data + IN_PKTINFO.interface, true), true);
}

/** The local address in the control message of an `ENDPOINT` record, 4 or 16 bytes. */
export function ourAddress(control: Uint8Array): Uint8Array {
  const view = new DataView(control.buffer, control.byteOffset);
  const at = CMSGHDR.data;
  if (view.getInt32(CMSGHDR.level, true) !== SOL_IPV6)
    return control.slice(at + IN_PKTINFO.ours, at + IN_PKTINFO.ours + 4);
  const address = control.slice(at + IN6_PKTINFO.address, at + IN6_PKTINFO.address + 16);
  return isIpv4Mapped(address) ? address.slice(12) : address;
}

/** Where the next control message begins. The kernel writes no length of 0, which would never end. */
function nextControl(view: DataView, offset: number): number {
  return offset + Math.max(CMSGHDR.data, (view.getUint32(offset + CMSGHDR.length, true) + 7) & ~7);
}

/** Sets the hop limit for an `ENDPOINT` record, and lets the kernel choose the source address. */
export function limitHops(out: Writable, offset: number, ipv6: boolean, hops: number): void {
  const at = offset + ENDPOINT.control;
  writeControlHeader(out.view, at, ipv6 ? SOL_IPV6 : SOL_IP, ipv6 ? IPV6_HOPLIMIT : IP_TTL, 4);
  out.view.setInt32(at + CMSGHDR.data, hops, true);
  out.view.setUint32(offset + ENDPOINT.controlLength, CMSGHDR.data + 8, true); // the data padded to 8
}

export function writeControlHeader(
  view: DataView,
  at: number,
  level: number,
  type: number,
  size: number,
): void {
  // Not as one BigInt, which would have to be collected.
  view.setUint32(at + CMSGHDR.length, CMSGHDR.data + size, true);
  view.setUint32(at + CMSGHDR.length + 4, 0, true);
  view.setInt32(at + CMSGHDR.level, level, true);
  view.setInt32(at + CMSGHDR.type, type, true);
}
