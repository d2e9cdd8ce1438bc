import { errno, libc } from '../linux/ffi/libc.js';
import { allocate, type Memory, writeUint64 } from '../linux/ffi/memory.js';
import { AF, SOCKADDR_IN6 } from '../linux/net/socket-address.js';
import { SOL_IP, SOL_IPV6 } from '../linux/net/udp.js';
import {
  CMSGHDR,
  CONTROL_ROOM,
  ENDPOINT,
  IOVEC,
  IP_TOS,
  IPV6_TCLASS,
  MMSGHDR,
  NAME_ROOM,
  SOL_UDP,
  writeControlHeader,
} from './udp-batch.js';

/** linux/udp.h: the kernel, or the network card, cuts a message into datagrams of this many bytes. */
const UDP_SEGMENT = 103;

/** CMSG_SPACE of an int (a traffic class), and of a u16 (a segment size). */
const NUMBER_ROOM = CMSGHDR.data + 8;

/**
 * Messages for sendmmsg(2), wherever they are in memory. A message is a datagram, or a run: consecutive datagrams of
 * one size. Messages are sent in order. When the kernel refuses one, it is the first that waits, and the caller
 * decides.
 */
export class SendBatch {
  readonly #headers: Memory;
  /** Control messages that are not in an `ENDPOINT` record. */
  readonly #controls: Memory;
  /** Copied addresses of messages that wait for the socket. */
  readonly #names: Memory;
  /** For each message: the size of its datagrams, and its `ENDPOINT` record. */
  readonly #segmentSizes: Int32Array;
  readonly #endpoints: (Memory | undefined)[];
  readonly #offsets: Int32Array;
  readonly #capacity: number;
  #first = 0;
  #end = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#headers = allocate(capacity * (MMSGHDR.size + IOVEC.size));
    this.#controls = allocate(capacity * CONTROL_ROOM);
    this.#names = allocate(capacity * NAME_ROOM);
    this.#segmentSizes = new Int32Array(capacity);
    this.#endpoints = new Array<Memory | undefined>(capacity).fill(undefined);
    this.#offsets = new Int32Array(capacity);
    const { view, address } = this.#headers;
    for (let i = 0; i < capacity; i++) {
      view.setUint32(i * MMSGHDR.size + MMSGHDR.vectorCount, 1, true);
      writeUint64(view, i * MMSGHDR.size + MMSGHDR.vectors, address + this.#vector(i));
    }
  }

  /** How many messages wait to be sent. */
  get pending(): number {
    return this.#end - this.#first;
  }

  /** How many more can be added. */
  get room(): number {
    return this.#capacity - this.#end;
  }

  /**
   * Adds a datagram.
   *
   * @param data address of its first byte
   * @param endpoints holds the receiver's `ENDPOINT` record at `offset`; a record without a name is for a connected
   *   socket
   */
  addTo(data: number, length: number, endpoints: Memory, offset: number): void {
    const record = endpoints.address + offset;
    const controlLength = endpoints.view.getUint32(offset + ENDPOINT.controlLength, true);
    const control = controlLength === 0 ? 0 : record + ENDPOINT.control;
    this.#add(data, length, length, endpoints, offset, control, controlLength);
  }

  /**
   * Adds a run.
   *
   * @param segmentSize bytes in each datagram; the last may be shorter
   * @param trafficClass (IPv4: type of service) for the outer header
   */
  addRun(
    data: number,
    length: number,
    segmentSize: number,
    endpoints: Memory,
    offset: number,
    trafficClass: number,
  ): void {
    if (segmentSize === length && trafficClass === 0) {
      this.addTo(data, length, endpoints, offset);
      return;
    }
    const { view, bytes, address } = this.#controls;
    const control = this.#end * CONTROL_ROOM;
    let at = control;
    const pinned = endpoints.view.getUint32(offset + ENDPOINT.controlLength, true);
    for (let i = 0; i < pinned; i++) bytes[at + i] = endpoints.bytes[offset + ENDPOINT.control + i]!;
    at += pinned;
    if (trafficClass !== 0) {
      const ipv6 = isIpv6Name(endpoints.view, offset + ENDPOINT.name);
      writeControlHeader(view, at, ipv6 ? SOL_IPV6 : SOL_IP, ipv6 ? IPV6_TCLASS : IP_TOS, 4);
      view.setInt32(at + CMSGHDR.data, trafficClass, true);
      at += NUMBER_ROOM;
    }
    if (segmentSize !== length) {
      writeControlHeader(view, at, SOL_UDP, UDP_SEGMENT, 2);
      view.setUint16(at + CMSGHDR.data, segmentSize, true);
      at += NUMBER_ROOM;
    }
    this.#add(data, length, segmentSize, endpoints, offset, address + control, at - control);
  }

  #add(
    data: number,
    length: number,
    segmentSize: number,
    endpoints: Memory,
    offset: number,
    control: number,
    controlLength: number,
  ): void {
    const { view } = this.#headers;
    const index = this.#end++;
    const header = index * MMSGHDR.size;
    const vector = this.#vector(index);
    this.#segmentSizes[index] = segmentSize;
    this.#endpoints[index] = endpoints;
    this.#offsets[index] = offset;
    writeUint64(view, vector + IOVEC.base, data);
    view.setUint32(vector + IOVEC.length, length, true);
    writeUint64(view, header + MMSGHDR.name, endpoints.address + offset + ENDPOINT.name);
    const nameLength = endpoints.view.getUint32(offset + ENDPOINT.nameLength, true);
    view.setUint32(header + MMSGHDR.nameLength, nameLength, true);
    writeUint64(view, header + MMSGHDR.control, control);
    view.setUint32(header + MMSGHDR.controlLength, controlLength, true);
  }

  /**
   * Sends messages in order until none waits or the kernel refuses one.
   *
   * @returns 0 when none waits, otherwise the errno for the first waiting message
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

  /** Bytes of the first waiting message. */
  get firstLength(): number {
    return this.#headers.view.getUint32(this.#vector(this.#first) + IOVEC.length, true);
  }

  /** Bytes in each of its datagrams; the last may be shorter. */
  get firstSegment(): number {
    return this.#segmentSizes[this.#first]!;
  }

  /** The memory that holds its `ENDPOINT` record. */
  get firstEndpoints(): Memory {
    return this.#endpoints[this.#first]!;
  }

  /** The record's offset in that memory. */
  get firstEndpoint(): number {
    return this.#offsets[this.#first]!;
  }

  /** Drops the first waiting message. */
  skip(): void {
    this.#first++;
    if (this.#first === this.#end) this.#first = this.#end = 0;
  }

  /** Moves the first waiting run to another, empty batch, with one message for each datagram. */
  splitFirst(into: SendBatch): void {
    const { view } = this.#headers;
    const header = this.#first * MMSGHDR.size;
    const data = readPointer(view, this.#vector(this.#first) + IOVEC.base);
    const length = this.firstLength;
    const size = this.firstSegment;
    const name = readPointer(view, header + MMSGHDR.name);
    const nameLength = view.getUint32(header + MMSGHDR.nameLength, true);
    const control = readPointer(view, header + MMSGHDR.control);
    // The segment size is the last control message.
    const controlLength = view.getUint32(header + MMSGHDR.controlLength, true) - NUMBER_ROOM;
    for (let at = 0; at < length; at += size) {
      const index = into.#end;
      const one = Math.min(size, length - at);
      into.#add(data + at, one, one, this.firstEndpoints, this.firstEndpoint, control, controlLength);
      // From the header: the record may belong to another receiver by now.
      writeUint64(into.#headers.view, index * MMSGHDR.size + MMSGHDR.name, name);
      into.#headers.view.setUint32(index * MMSGHDR.size + MMSGHDR.nameLength, nameLength, true);
      into.#keepAddress(index);
    }
    this.skip();
  }

  /**
   * Copies the addresses of waiting messages, so that `ENDPOINT` records may change: a message that waits for the
   * socket must not go to another receiver.
   */
  keepAddresses(): void {
    for (let i = this.#first; i < this.#end; i++) this.#keepAddress(i);
  }

  #keepAddress(index: number): void {
    const header = index * MMSGHDR.size;
    this.#keep(header + MMSGHDR.name, header + MMSGHDR.nameLength, this.#names.address + index * NAME_ROOM);
    const control = this.#controls.address + index * CONTROL_ROOM;
    this.#keep(header + MMSGHDR.control, header + MMSGHDR.controlLength, control);
  }

  /** Copies what a header points to, unless it was copied already. */
  #keep(pointer: number, length: number, to: number): void {
    const { view } = this.#headers;
    const from = readPointer(view, pointer);
    if (from === 0 || from === to) return;
    libc.memcpy(to, from, view.getUint32(length, true));
    writeUint64(view, pointer, to);
  }

  /** Lets the kernel choose the source address of the first waiting message. */
  unpinSource(): void {
    const { view } = this.#headers;
    const header = this.#first * MMSGHDR.size;
    this.#keepAddress(this.#first);
    const control = this.#first * CONTROL_ROOM;
    const length = view.getUint32(header + MMSGHDR.controlLength, true);
    // Packet information comes first; the control messages behind it stay.
    const pinned = packetInformationLength(this.#controls.view, control, length);
    this.#controls.bytes.copyWithin(control, control + pinned, control + length);
    view.setUint32(header + MMSGHDR.controlLength, length - pinned, true);
  }

  /** Whether the first waiting message is a run. */
  get isRun(): boolean {
    return this.firstSegment < this.firstLength;
  }

  #vector(index: number): number {
    return this.#capacity * MMSGHDR.size + index * IOVEC.size;
  }
}

/** Length of the packet information that control messages begin with; 0 for none. */
function packetInformationLength(view: DataView, at: number, length: number): number {
  if (length < CMSGHDR.data) return 0;
  const level = view.getInt32(at + CMSGHDR.level, true);
  const type = view.getInt32(at + CMSGHDR.type, true);
  const own =
    level === SOL_UDP ||
    (level === SOL_IP && type === IP_TOS) ||
    (level === SOL_IPV6 && type === IPV6_TCLASS);
  return own ? 0 : (view.getUint32(at + CMSGHDR.length, true) + 7) & ~7;
}

/** Whether a socket address is IPv6 and not IPv4-mapped. */
function isIpv6Name(view: DataView, name: number): boolean {
  if (view.getUint16(name, true) !== AF.inet6) return false;
  const address = name + SOCKADDR_IN6.address;
  return (
    view.getUint32(address + 8) !== 0xffff ||
    view.getUint32(address) !== 0 ||
    view.getUint32(address + 4) !== 0
  );
}

const readPointer = (view: DataView, offset: number): number =>
  view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 0x1_0000_0000;
