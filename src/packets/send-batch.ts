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

/** linux/udp.h: the kernel, or the network card, cuts what is sent into datagrams of so many bytes. */
const UDP_SEGMENT = 103;

/** CMSG_SPACE of an int: a traffic class; and of a u16: a segment size. */
const NUMBER_ROOM = CMSGHDR.data + 8;

/** Collects datagrams, wherever they lie in memory, and sends them with as few system calls as possible. */
export class SendBatch {
  readonly #headers: Memory;
  /** Room for the control messages of datagrams that have some of their own. */
  readonly #controls: Memory;
  /** Room for the addresses of what waits for longer. */
  readonly #names: Memory;
  /** Of the runs. */
  readonly #segmentSizes: Int32Array;
  readonly #capacity: number;
  #first = 0;
  #end = 0;
  /** The errno with which the kernel refused what `sendRunSingly` lost last. */
  lostTo = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#headers = allocate(capacity * (MMSGHDR.size + IOVEC.size));
    this.#controls = allocate(capacity * CONTROL_ROOM);
    this.#names = allocate(capacity * NAME_ROOM);
    this.#segmentSizes = new Int32Array(capacity);
    const { view, address } = this.#headers;
    for (let i = 0; i < capacity; i++) {
      const vector = capacity * MMSGHDR.size + i * IOVEC.size;
      view.setUint32(i * MMSGHDR.size + MMSGHDR.vectorCount, 1, true);
      writeUint64(view, i * MMSGHDR.size + MMSGHDR.vectors, address + vector);
    }
  }

  /** How many datagrams wait to be sent. */
  get pending(): number {
    return this.#end - this.#first;
  }

  get full(): boolean {
    return this.#end === this.#capacity;
  }

  /** How many more can be added. */
  get room(): number {
    return this.#capacity - this.#end;
  }

  /** Adds a datagram for the address that the socket is connected to. @param data address of its first byte */
  add(data: number, length: number): void {
    this.#segmentSizes[this.#end] = 0;
    this.#add(data, length, 0, 0, 0, 0);
  }

  /** Adds a datagram for the `ENDPOINT` record at `offset` in `endpoints`. */
  addTo(data: number, length: number, endpoints: Memory, offset: number): void {
    const record = endpoints.address + offset;
    const nameLength = endpoints.view.getUint32(offset + ENDPOINT.nameLength, true);
    const controlLength = endpoints.view.getUint32(offset + ENDPOINT.controlLength, true);
    const control = controlLength === 0 ? 0 : record + ENDPOINT.control;
    this.#segmentSizes[this.#end] = 0;
    this.#add(data, length, record + ENDPOINT.name, nameLength, control, controlLength);
  }

  /**
   * Adds many datagrams of one size that lie behind each other, the last of which may be shorter, for one endpoint:
   * one system call's work for the kernel where it can cut them up itself.
   *
   * @param segmentSize bytes of each datagram; `length` when there is only one
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
    this.#segmentSizes[this.#end] = segmentSize;
    const nameLength = endpoints.view.getUint32(offset + ENDPOINT.nameLength, true);
    const name = endpoints.address + offset + ENDPOINT.name;
    this.#add(data, length, name, nameLength, address + control, at - control);
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
    writeUint64(view, vector + IOVEC.base, data);
    view.setUint32(vector + IOVEC.length, length, true);
    writeUint64(view, header + MMSGHDR.name, name);
    view.setUint32(header + MMSGHDR.nameLength, nameLength, true);
    writeUint64(view, header + MMSGHDR.control, control);
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

  /** Bytes of the first that waits, a datagram or a run. */
  get firstLength(): number {
    const vector = this.#capacity * MMSGHDR.size + this.#first * IOVEC.size;
    return this.#headers.view.getUint32(vector + IOVEC.length, true);
  }

  /** Bytes of each of its datagrams, of which the last may be shorter. */
  get firstSegment(): number {
    return this.#segmentSizes[this.#first]! || this.firstLength;
  }

  /** Gives up the first that waits, a datagram or a run. @returns its length */
  skip(): number {
    const length = this.firstLength;
    this.#first++;
    if (this.#first === this.#end) this.#first = this.#end = 0;
    return length;
  }

  /**
   * Copies where what waits is to go, so that the endpoints' records may be written anew meanwhile: a batch that finds
   * the socket full must not follow a record to somebody else.
   */
  keepAddresses(): void {
    const { view } = this.#headers;
    for (let i = this.#first; i < this.#end; i++) {
      const header = i * MMSGHDR.size;
      const length = view.getUint32(header + MMSGHDR.nameLength, true);
      if (readPointer(view, header + MMSGHDR.name) === 0) continue; // of a connected socket
      const at = i * NAME_ROOM;
      libc.memcpy(this.#names.address + at, readPointer(view, header + MMSGHDR.name), length);
      writeUint64(view, header + MMSGHDR.name, this.#names.address + at);
    }
  }

  /** Lets the kernel choose the address that the first waiting datagram, or run, leaves from. */
  unpinSource(): void {
    const { view } = this.#headers;
    const header = this.#first * MMSGHDR.size;
    const length = view.getUint32(header + MMSGHDR.controlLength, true);
    const control = this.#first * CONTROL_ROOM;
    const own = readPointer(view, header + MMSGHDR.control) === this.#controls.address + control;
    // Packet information comes first; what a run has behind it must stay.
    const pinned = own ? packetInformationLength(this.#controls.view, control, length) : length;
    writeUint64(view, header + MMSGHDR.control, own ? this.#controls.address + control + pinned : 0);
    view.setUint32(header + MMSGHDR.controlLength, length - pinned, true);
  }

  /** Whether the first that waits is a run, which can be sent one by one as well. */
  get isRun(): boolean {
    return this.firstSegment < this.firstLength;
  }

  /**
   * Sends the first run that waits datagram by datagram, for a path on which the kernel cannot cut it up: a device
   * without checksum offload, or an MTU that its datagrams do not fit. What the kernel refuses of it is lost.
   *
   * @returns how many bytes were lost
   */
  sendRunSingly(fd: number): number {
    const { view, address } = this.#headers;
    const header = this.#first * MMSGHDR.size;
    const vector = this.#capacity * MMSGHDR.size + this.#first * IOVEC.size;
    const total = view.getUint32(vector + IOVEC.length, true);
    const data = readPointer(view, vector + IOVEC.base);
    const size = this.#segmentSizes[this.#first]!;
    const control = view.getUint32(header + MMSGHDR.controlLength, true);
    view.setUint32(header + MMSGHDR.controlLength, control - NUMBER_ROOM, true); // the segment size is the last
    let lost = 0;
    for (let sent = 0; sent < total; sent += size) {
      const length = Math.min(size, total - sent);
      writeUint64(view, vector + IOVEC.base, data + sent);
      view.setUint32(vector + IOVEC.length, length, true);
      if (libc.sendmsg(fd, address + header, 0) >= 0) continue;
      this.lostTo = errno();
      lost += length;
    }
    this.skip();
    return lost;
  }
}

/** How long packet information is at the beginning of control messages; 0 when there is none. */
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

const readPointer = (view: DataView, offset: number): number =>
  view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 0x1_0000_0000;
