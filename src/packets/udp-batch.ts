import { isIpv4Mapped } from '../ip/address.js';
import { errno, libc } from '../linux/ffi/libc.js';
import { allocate, type Memory } from '../linux/ffi/memory.js';
import { SOCKADDR_IN6 } from '../linux/net/socket-address.js';
import { SOL_IP, SOL_IPV6 } from '../linux/net/udp.js';

/** struct iovec, linux/uio.h: base u64, length u64. */
export const IOVEC = { base: 0, length: 8, size: 16 } as const;

/** struct mmsghdr, linux/socket.h: a msghdr of 56 bytes, then how many bytes were moved. */
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
/** struct in_pktinfo, linux/in.h: interface i32, our address 4 bytes, the header's destination 4 bytes. */
export const IN_PKTINFO = { interface: 0, ours: 4, size: 12 } as const;
/** struct in6_pktinfo, linux/ipv6.h: address 16 bytes, interface u32. */
export const IN6_PKTINFO = { address: 0, interface: 16, size: 20 } as const;

/** The largest datagram there is. */
const MAX_DATAGRAM = 65_535;

export const NAME_ROOM = 32;
export const CONTROL_ROOM = 96;

/**
 * A peer's outer address in memory that the kernel reads directly, with the control message that makes our
 * answers leave from the address the peer wrote to: a NAT, a firewall and a connected socket all insist on
 * it. Layout of one record: socket address, its length u32, control message, its length u32, which is 0 while the kernel
 * is to choose our address; then, not for the kernel: whose number a relay at that address is to be given, u32, 0 when
 * it is no relay; the interface that the peer's datagram came by, u32, 0 while our address is not known; and what
 * `RunSender` has learned of the path: the size from which on datagrams cannot go as a run, u16, 0 when there is none,
 * and for how many more of them that is believed, u16.
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

/** Memory that is written to from here, and not by the kernel. */
type Writable = Pick<Memory, 'bytes' | 'view'>;

/**
 * From one slot to the next. Not a power of two, or the first bytes of all slots would compete for the same few lines
 * of the cache.
 */
const STRIDE = MAX_DATAGRAM + 1 + 1600;

/** Receives up to `capacity` datagrams with one system call, each into a slot of its own. */
export class ReceiveBatch {
  /** The memory that holds the datagrams: slot `i` begins at `offset(i)`. */
  readonly memory: Memory;
  readonly #headers: Memory;
  readonly #capacity: number;
  readonly #base: number;

  /**
   * @param memory where the datagrams are to lie, `ReceiveBatch.size(capacity)` bytes from `base` on; without it, it is
   *   made
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
   * @returns how many datagrams came, or the errno as a negative number
   */
  receive(fd: number, limit: number = this.#capacity): number {
    const { view, address } = this.#headers;
    for (let i = 0; i < limit; i++) {
      // The kernel writes how much it used over how much there is.
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

  /** The bytes in which the sender's socket address stands at `senderOffset(slot)`. */
  get senderBytes(): Uint8Array {
    return this.#headers.bytes;
  }

  senderOffset(slot: number): number {
    return this.#name(slot);
  }

  /** Whether a datagram came from the address of an `ENDPOINT` record. */
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
   * How long each of the datagrams is that the kernel has put together in a slot, UDP_GRO; the last may be shorter.
   * The slot's whole length when it is one alone.
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

  /** The traffic class (IPv4: type of service) that a datagram came with; 0 when the socket does not report it. */
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

  /** Whether a datagram came to the address of ours, and by the interface, that stand in an `ENDPOINT` record. */
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

  /** Writes an `ENDPOINT` record that answers the sender of a datagram, from the address it wrote to. */
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

  /** Where the control message stands that says to which address, and by which interface, a datagram came; -1 for none. */
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
 * Turns the packet information of a receipt into that of an answer. In it the interface is left open (0), so that an
 * answer may take another way out when the routes change.
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

/** The address of ours in the control message of an `ENDPOINT` record, 4 or 16 bytes. */
export function ourAddress(control: Uint8Array): Uint8Array {
  const view = new DataView(control.buffer, control.byteOffset);
  const at = CMSGHDR.data;
  if (view.getInt32(CMSGHDR.level, true) !== SOL_IPV6)
    return control.slice(at + IN_PKTINFO.ours, at + IN_PKTINFO.ours + 4);
  const address = control.slice(at + IN6_PKTINFO.address, at + IN6_PKTINFO.address + 16);
  return isIpv4Mapped(address) ? address.slice(12) : address;
}

/** Where the control message behind the one at `offset` begins. A length of 0 would stand still: the kernel writes none. */
function nextControl(view: DataView, offset: number): number {
  return offset + Math.max(CMSGHDR.data, (view.getUint32(offset + CMSGHDR.length, true) + 7) & ~7);
}

/** Lets what goes to an `ENDPOINT` record pass so many routers; it leaves from the address that the kernel chooses. */
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
  // Not as one BigInt, which would be left to collect.
  view.setUint32(at + CMSGHDR.length, CMSGHDR.data + size, true);
  view.setUint32(at + CMSGHDR.length + 4, 0, true);
  view.setInt32(at + CMSGHDR.level, level, true);
  view.setInt32(at + CMSGHDR.type, type, true);
}
