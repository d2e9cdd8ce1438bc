import { errno, libc } from './libc.js';
import { allocate, type Memory } from './memory.js';
import { AF, SOCKADDR_IN6 } from './socket-address.js';
import { SOL_IP, SOL_IPV6 } from './udp.js';

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

const IP_TOS = 1;
const IP_PKTINFO = 8;
const IPV6_PKTINFO = 50;
const IPV6_TCLASS = 67;
/** struct in_pktinfo, linux/in.h: interface i32, our address 4 bytes, the header's destination 4 bytes. */
export const IN_PKTINFO = { interface: 0, ours: 4, size: 12 } as const;
/** struct in6_pktinfo, linux/ipv6.h: address 16 bytes, interface u32. */
export const IN6_PKTINFO = { address: 0, interface: 16, size: 20 } as const;

/** The largest datagram there is. */
export const MAX_DATAGRAM = 65_535;

const NAME_ROOM = 32;
const CONTROL_ROOM = 64;

/**
 * A peer's outer address in memory that the kernel reads directly, with the control message that makes our
 * answers leave from the address the peer wrote to: a NAT, a firewall and a connected socket all insist on
 * it. Layout of one record: socket address, its length u32, control message, its length u32.
 */
export const ENDPOINT = { name: 0, nameLength: 28, control: 32, controlLength: 72, size: 80 } as const;

/** Memory that is written to from here, and not by the kernel. */
type Writable = Pick<Memory, 'bytes' | 'view'>;

/** Receives up to `capacity` datagrams with one system call, each into a slot of its own. */
export class ReceiveBatch {
  /** The memory that holds the datagrams: slot `i` begins at `offset(i)`. */
  readonly memory: Memory;
  readonly #headers: Memory;
  readonly #capacity: number;
  readonly #stride: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
    // Not a power of two, or the first bytes of all slots would compete for the same few lines of the cache.
    this.#stride = MAX_DATAGRAM + 1 + 1600;
    this.memory = allocate(capacity * this.#stride);
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

  /** @returns how many datagrams came, or the errno as a negative number */
  receive(fd: number): number {
    const { view, address } = this.#headers;
    for (let i = 0; i < this.#capacity; i++) {
      // The kernel writes how much it used over how much there is.
      view.setUint32(i * MMSGHDR.size + MMSGHDR.nameLength, NAME_ROOM, true);
      view.setUint32(i * MMSGHDR.size + MMSGHDR.controlLength, CONTROL_ROOM, true);
    }
    const count = libc.recvmmsg(fd, address, this.#capacity, 0, 0);
    return count >= 0 ? count : -errno();
  }

  offset(slot: number): number {
    return slot * this.#stride;
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

  /** Writes an `ENDPOINT` record that answers the sender of a datagram, from the address it wrote to. */
  writeEndpoint(slot: number, out: Writable, offset: number): void {
    const { bytes, view } = this.#headers;
    const header = slot * MMSGHDR.size;
    const nameLength = view.getUint32(header + MMSGHDR.nameLength, true);
    const name = this.#name(slot);
    for (let i = 0; i < SOCKADDR_IN6.size; i++) out.bytes[offset + i] = i < nameLength ? bytes[name + i]! : 0;
    out.view.setUint32(offset + ENDPOINT.nameLength, nameLength, true);
    const used = view.getUint32(header + MMSGHDR.controlLength, true);
    const length =
      used === 0 ? 0 : copyOurAddress(view, this.#control(slot), used, out, offset + ENDPOINT.control);
    out.view.setUint32(offset + ENDPOINT.controlLength, length, true);
  }

  #name(slot: number): number {
    return this.#capacity * (MMSGHDR.size + IOVEC.size) + slot * NAME_ROOM;
  }

  #control(slot: number): number {
    return this.#capacity * (MMSGHDR.size + IOVEC.size + NAME_ROOM) + slot * CONTROL_ROOM;
  }
}

/**
 * Turns the packet information among the control messages of a receipt into that of an answer. The interface is left
 * open (0), so that an answer may take another way out when the routes change.
 *
 * @param used how many bytes of control messages there are
 * @returns the length of the control message; 0 when there is no packet information
 */
function copyOurAddress(from: DataView, offset: number, used: number, out: Writable, at: number): number {
  for (let message = offset; message + CMSGHDR.data <= offset + used; message = nextControl(from, message)) {
    const level = from.getInt32(message + CMSGHDR.level, true);
    const type = from.getInt32(message + CMSGHDR.type, true);
    const data = message + CMSGHDR.data;
    if (level === SOL_IPV6 && type === IPV6_PKTINFO) {
      writeControlHeader(out.view, at, level, type, IN6_PKTINFO.size);
      for (let i = 0; i < 16; i++) out.bytes[at + CMSGHDR.data + i] = from.getUint8(data + i);
      out.view.setUint32(at + CMSGHDR.data + IN6_PKTINFO.interface, 0, true);
      return CMSGHDR.data + 24; // the data padded to 8
    }
    if (level === SOL_IP && type === IP_PKTINFO) {
      writeControlHeader(out.view, at, level, type, IN_PKTINFO.size);
      out.view.setUint32(at + CMSGHDR.data + IN_PKTINFO.interface, 0, true);
      out.view.setUint32(at + CMSGHDR.data + IN_PKTINFO.ours, from.getUint32(data + IN_PKTINFO.ours));
      out.view.setUint32(at + CMSGHDR.data + IN_PKTINFO.ours + 4, 0, true);
      return CMSGHDR.data + 16;
    }
  }
  return 0;
}

/** Where the control message behind the one at `offset` begins. A length of 0 would stand still: the kernel writes none. */
function nextControl(view: DataView, offset: number): number {
  return offset + Math.max(CMSGHDR.data, (view.getUint32(offset + CMSGHDR.length, true) + 7) & ~7);
}

function writeControlHeader(view: DataView, at: number, level: number, type: number, size: number): void {
  view.setBigUint64(at + CMSGHDR.length, BigInt(CMSGHDR.data + size), true);
  view.setInt32(at + CMSGHDR.level, level, true);
  view.setInt32(at + CMSGHDR.type, type, true);
}

/** Collects datagrams, wherever they lie in memory, and sends them with as few system calls as possible. */
export class SendBatch {
  readonly #headers: Memory;
  /** Room for the control messages of datagrams that have some of their own. */
  readonly #controls: Memory;
  readonly #capacity: number;
  #first = 0;
  #end = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#headers = allocate(capacity * (MMSGHDR.size + IOVEC.size));
    this.#controls = allocate(capacity * CONTROL_ROOM);
    const { view, address } = this.#headers;
    for (let i = 0; i < capacity; i++) {
      const vector = capacity * MMSGHDR.size + i * IOVEC.size;
      view.setUint32(i * MMSGHDR.size + MMSGHDR.vectorCount, 1, true);
      writePointer(view, i * MMSGHDR.size + MMSGHDR.vectors, address + vector);
    }
  }

  /** How many datagrams wait to be sent. */
  get pending(): number {
    return this.#end - this.#first;
  }

  get full(): boolean {
    return this.#end === this.#capacity;
  }

  /** Adds a datagram for the address that the socket is connected to. @param data address of its first byte */
  add(data: number, length: number): void {
    this.#add(data, length, 0, 0, 0, 0);
  }

  /** Adds a datagram for the `ENDPOINT` record at `offset` in `endpoints`. */
  addTo(data: number, length: number, endpoints: Memory, offset: number): void {
    const record = endpoints.address + offset;
    const nameLength = endpoints.view.getUint32(offset + ENDPOINT.nameLength, true);
    const controlLength = endpoints.view.getUint32(offset + ENDPOINT.controlLength, true);
    const control = controlLength === 0 ? 0 : record + ENDPOINT.control;
    this.#add(data, length, record + ENDPOINT.name, nameLength, control, controlLength);
  }

  /** Like `addTo`, with a traffic class (IPv4: type of service) for the outer header. */
  addWithTrafficClass(
    data: number,
    length: number,
    endpoints: Memory,
    offset: number,
    trafficClass: number,
  ): void {
    const { view, bytes, address } = this.#controls;
    const at = this.#end * CONTROL_ROOM;
    const pinned = endpoints.view.getUint32(offset + ENDPOINT.controlLength, true);
    for (let i = 0; i < pinned; i++) bytes[at + i] = endpoints.bytes[offset + ENDPOINT.control + i]!;
    const ipv6 = isIpv6Name(endpoints.view, offset + ENDPOINT.name);
    writeControlHeader(view, at + pinned, ipv6 ? SOL_IPV6 : SOL_IP, ipv6 ? IPV6_TCLASS : IP_TOS, 4);
    view.setInt32(at + pinned + CMSGHDR.data, trafficClass, true);
    const nameLength = endpoints.view.getUint32(offset + ENDPOINT.nameLength, true);
    const controlLength = pinned + CMSGHDR.data + 8;
    this.#add(data, length, endpoints.address + offset, nameLength, address + at, controlLength);
  }

  #add(
    data: number,
    length: number,
    name: number,
    nameLength: number,
    control: number,
    controlLength: number,
  ): void {
    const { view } = this.#headers;
    const header = this.#end * MMSGHDR.size;
    const vector = this.#capacity * MMSGHDR.size + this.#end * IOVEC.size;
    writePointer(view, vector + IOVEC.base, data);
    view.setUint32(vector + IOVEC.length, length, true);
    writePointer(view, header + MMSGHDR.name, name);
    view.setUint32(header + MMSGHDR.nameLength, nameLength, true);
    writePointer(view, header + MMSGHDR.control, control);
    view.setUint32(header + MMSGHDR.controlLength, controlLength, true);
    this.#end++;
  }

  /**
   * Sends what waits, in order, until all is sent or the kernel refuses one.
   *
   * @returns 0 when nothing waits any more, else the errno that the first waiting datagram met
   */
  flush(fd: number): number {
    while (this.#first < this.#end) {
      const start = this.#headers.address + this.#first * MMSGHDR.size;
      const sent = libc.sendmmsg(fd, start, this.#end - this.#first, 0);
      if (sent < 0) return errno();
      this.#first += sent;
    }
    this.#first = this.#end = 0;
    return 0;
  }

  /** Gives up the first waiting datagram. @returns its length */
  skip(): number {
    const vector = this.#capacity * MMSGHDR.size + this.#first * IOVEC.size;
    const length = this.#headers.view.getUint32(vector + IOVEC.length, true);
    this.#first++;
    if (this.#first === this.#end) this.#first = this.#end = 0;
    return length;
  }

  /** Lets the kernel choose the address that the first waiting datagram leaves from. */
  unpinSource(): void {
    const header = this.#first * MMSGHDR.size;
    writePointer(this.#headers.view, header + MMSGHDR.control, 0);
    this.#headers.view.setUint32(header + MMSGHDR.controlLength, 0, true);
  }
}

/** Whether a socket address is one of IPv6, and not an IPv4 one in its mapped form. */
function isIpv6Name(view: DataView, name: number): boolean {
  if (view.getUint16(name, true) !== AF.inet6) return false;
  const address = name + SOCKADDR_IN6.address;
  return (
    view.getUint32(address + 8) !== 0xffff ||
    view.getUint32(address) !== 0 ||
    view.getUint32(address + 4) !== 0
  );
}

/** Writes a user-space address, which is below 2^48, without a BigInt. */
function writePointer(view: DataView, offset: number, pointer: number): void {
  view.setUint32(offset, pointer % 0x1_0000_0000, true);
  view.setUint32(offset + 4, Math.floor(pointer / 0x1_0000_0000), true);
}
