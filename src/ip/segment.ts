import { fold, pseudoHeaderSum, type Sum } from './checksum.js';
import { IPV4, IPV6, PROTOCOL, TCP, TCP_FLAG, UDP, wholePacket } from './packet.js';
import { type Arena, GSO, GSO_ECN, NEEDS_CHECKSUM, VIRTIO } from './virtio.js';

/** Longer headers are refused. IPv4 and TCP with all options need 120 bytes, IPv6 extension headers more. */
const MAX_HEADER = 256;

/**
 * Segments a packet from a TUN device with IFF_VNET_HDR in place: each segment's headers are written directly in front
 * of its payload, over the end of the segment before. So use a segment before asking for the next one, and restore any
 * bytes behind it that you overwrite.
 *
 * Call `start()`; then, as long as `next()` returns true, read `packet` and `length`. Allocates nothing.
 */
export class Segmenter {
  /** Where the segment begins in the arena, and its length. */
  packet = 0;
  length = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #sum: Sum;
  /** The headers of the super-packet, as words in stored order. */
  readonly #header = new Int32Array(MAX_HEADER / 4);
  #headerLength = 0;
  /** Length of everything in front of the TCP or UDP header. */
  #ipLength = 0;
  #version4 = false;
  #tcp = false;
  #count = 0;
  #index = 0;
  #first = 0;
  #gsoSize = 0;
  #payloadLeft = 0;
  #identification = 0;
  #sequence = 0;
  #flags = 0;
  /** Sum of the IPv4 header without the words that change. */
  #ipSum = 0;
  /** Sum of the pseudo-header without its length. */
  #pseudoSum = 0;

  constructor(arena: Arena, sum: Sum) {
    this.#bytes = arena.bytes;
    this.#view = arena.view;
    this.#sum = sum;
  }

  /**
   * @param offset where the virtio_net_hdr begins
   * @param length of the header and the packet together
   * @returns the number of segments; 0 for a malformed packet, or one of an unknown kind
   */
  start(offset: number, length: number): number {
    this.#count = 0;
    this.#index = 0;
    const size = length - VIRTIO.length;
    if (offset < 0 || size < 0 || offset + length > this.#bytes.length) return 0;
    this.#first = offset + VIRTIO.length;
    const version = wholePacket(this.#view, this.#first, size);
    if (version === 0) return 0;
    this.#version4 = version === 4;
    const type = this.#bytes[offset + VIRTIO.gsoType]! & ~GSO_ECN;
    const ready = type === GSO.none ? this.#startWhole(offset, size) : this.#startSuper(offset, size, type);
    if (!ready) this.#count = 0;
    return this.#count;
  }

  /** Prepares the next segment. @returns false when there is none */
  next(): boolean {
    if (this.#index === this.#count) return false;
    if (this.#gsoSize === 0) this.#index++;
    else this.#cut();
    return true;
  }

  /** Takes a packet that needs no segmenting. Its checksum may be unfinished. */
  #startWhole(offset: number, size: number): boolean {
    const view = this.#view;
    this.#gsoSize = 0;
    this.#count = 1;
    this.packet = this.#first;
    this.length = size;
    if ((this.#bytes[offset + VIRTIO.flags]! & NEEDS_CHECKSUM) === 0) return true;
    const start = view.getUint16(offset + VIRTIO.checksumStart, true);
    const field = start + view.getUint16(offset + VIRTIO.checksumOffset, true);
    if (start < this.#fixedHeader() || field + 2 > size) return false;
    const checksum = ~this.#sum(this.#first + start, size - start) & 0xffff;
    // Never zero, as in the kernel's skb_checksum_help(): in UDP, zero means no checksum.
    view.setUint16(this.#first + field, checksum === 0 ? 0xffff : checksum);
    return true;
  }

  #startSuper(offset: number, size: number, type: number): boolean {
    const view = this.#view;
    const packet = this.#first;
    if (type !== GSO.udp && type !== (this.#version4 ? GSO.tcp4 : GSO.tcp6)) return false;
    this.#tcp = type !== GSO.udp;
    this.#gsoSize = view.getUint16(offset + VIRTIO.gsoSize, true);
    if (this.#gsoSize === 0 || view.getUint16(offset + VIRTIO.headerLength, true) > size) return false;
    if (!this.#locateHeaders(offset, size)) return false;
    this.#payloadLeft = size - this.#headerLength;
    for (let i = 0; i < this.#headerLength; i += 4) this.#header[i >> 2] = view.getInt32(packet + i, true);
    if (this.#version4) {
      if ((view.getUint16(packet + IPV4.fragment) & 0xbfff) !== 0) return false;
      this.#identification = view.getUint16(packet + IPV4.identification);
      this.#ipSum =
        this.#sum(packet, this.#ipLength) +
        (~size & 0xffff) +
        (~this.#identification & 0xffff) +
        (~view.getUint16(packet + IPV4.checksum) & 0xffff);
    }
    if (this.#tcp) {
      this.#sequence = view.getUint32(packet + this.#ipLength + TCP.sequence);
      this.#flags = this.#bytes[packet + this.#ipLength + TCP.flags]!;
    }
    this.#count = Math.ceil(this.#payloadLeft / this.#gsoSize);
    return true;
  }

  /**
   * Finds where the headers end. `headerLength` in the virtio header is only a hint: for forwarded packets it is the
   * length of the whole first packet.
   */
  #locateHeaders(offset: number, size: number): boolean {
    const view = this.#view;
    const packet = this.#first;
    const checksumField: number = this.#tcp ? TCP.checksum : UDP.checksum;
    const partial = (this.#bytes[offset + VIRTIO.flags]! & NEEDS_CHECKSUM) !== 0;
    // Behind IPv6 extension headers, only the kernel knows where the transport header begins.
    const start = partial ? view.getUint16(offset + VIRTIO.checksumStart, true) : this.#fixedHeader();
    if (partial && view.getUint16(offset + VIRTIO.checksumOffset, true) !== checksumField) return false;
    if (this.#version4 ? start !== this.#fixedHeader() : start < IPV6.headerLength || start % 8 !== 0)
      return false;
    const protocol = this.#tcp ? PROTOCOL.tcp : PROTOCOL.udp;
    if (start === this.#fixedHeader() && this.#protocol() !== protocol) return false;
    if (start + (this.#tcp ? TCP.minLength : UDP.headerLength) > size) return false;
    const transport = this.#tcp ? (this.#bytes[packet + start + TCP.dataOffset]! >> 4) * 4 : UDP.headerLength;
    if (this.#tcp && transport < TCP.minLength) return false;
    this.#ipLength = start;
    this.#headerLength = start + transport;
    if (this.#headerLength >= size || this.#headerLength > MAX_HEADER) return false;
    const transportLength = size - start;
    const sum = partial
      ? view.getUint16(packet + start + checksumField)
      : pseudoHeaderSum(view, packet, protocol, transportLength);
    this.#pseudoSum = sum + (~transportLength & 0xffff);
    return true;
  }

  /** Writes the headers of segment `#index` in front of its payload. */
  #cut(): void {
    const view = this.#view;
    const index = this.#index++;
    const packet = this.#first + index * this.#gsoSize;
    const payload = Math.min(this.#gsoSize, this.#payloadLeft);
    this.#payloadLeft -= payload;
    const length = this.#headerLength + payload;
    const transport = packet + this.#ipLength;
    const transportLength = length - this.#ipLength;
    const words = this.#header;
    for (let i = 0; i < this.#headerLength; i += 4) view.setInt32(packet + i, words[i >> 2]!, true);
    if (this.#version4) {
      const identification = (this.#identification + index) & 0xffff;
      view.setUint16(packet + IPV4.totalLength, length);
      view.setUint16(packet + IPV4.identification, identification);
      view.setUint16(packet + IPV4.checksum, ~fold(this.#ipSum + length + identification));
    } else {
      view.setUint16(packet + IPV6.payloadLength, length - IPV6.headerLength);
    }
    let checksumField = transport + UDP.checksum;
    if (this.#tcp) {
      checksumField = transport + TCP.checksum;
      view.setUint32(transport + TCP.sequence, this.#sequence + index * this.#gsoSize);
      let flags = this.#flags;
      if (index !== 0) flags &= ~TCP_FLAG.cwr;
      if (this.#payloadLeft !== 0) flags &= ~(TCP_FLAG.fin | TCP_FLAG.psh);
      view.setUint8(transport + TCP.flags, flags);
    } else {
      view.setUint16(transport + UDP.length, transportLength);
    }
    // With the pseudo-header's sum in the checksum field, one sum over the segment covers everything.
    view.setUint16(checksumField, fold(this.#pseudoSum + transportLength));
    const checksum = ~this.#sum(transport, transportLength) & 0xffff;
    view.setUint16(checksumField, checksum === 0 && !this.#tcp ? 0xffff : checksum);
    this.packet = packet;
    this.length = length;
  }

  #fixedHeader(): number {
    return this.#version4 ? (this.#bytes[this.#first]! & 0x0f) * 4 : IPV6.headerLength;
  }

  #protocol(): number {
    return this.#bytes[this.#first + (this.#version4 ? IPV4.protocol : IPV6.nextHeader)]!;
  }
}
