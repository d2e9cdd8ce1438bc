import { fold, pseudoHeaderSum, type Sum, updateChecksum } from './checksum.js';
import { findKind, isIpv4, isTcp, KIND, type Kind, sameFlow, sameHeaders, transportOf } from './flow.js';
import { IPV4, IPV6, PROTOCOL, TCP, TCP_FLAG, UDP } from './packet.js';
import { type Arena, GSO, NEEDS_CHECKSUM, VIRTIO } from './virtio.js';

export interface CoalescerOptions {
  /** Merge TCP. Default true. */
  readonly tcp?: boolean;
  /** Merge UDP, which needs a device that took the USO offloads. Default true. */
  readonly udp?: boolean;
}

/** The most packets in a batch, and the most that become one: every kernel accepts so many for UDP. */
export const MAX_PACKETS = 1024;
export const MAX_SEGMENTS = 64;

/** A merged packet is still one IP packet. */
const MAX_PACKET = 0xffff;

/** What may still join a group. The first packet's checksum is checked only when a second one wants to join. */
const STATE = { unverified: 0, verified: 1, closed: 2 } as const;

/** Flags that keep a segment from being merged, and flags that make it the last of its group. */
const NEVER = TCP_FLAG.syn | TCP_FLAG.rst | TCP_FLAG.urg | TCP_FLAG.cwr;
const LAST = TCP_FLAG.psh | TCP_FLAG.fin;

/** How far to look for a flow from its home slot. Beyond that, another flow is replaced. */
const MAX_PROBES = 8;

/**
 * Merges consecutive TCP segments and UDP datagrams of a flow into super-packets for a TUN device with
 * IFF_VNET_HDR, by the rules of Linux's generic receive offload (net/ipv4/tcp_offload.c, udp_offload.c,
 * af_inet.c, net/ipv6/ip6_offload.c), so that segmenting them gives the same packets. Payloads stay where they
 * are: a group is a list of pieces for writev(2), the first of which begins with the virtio_net_hdr. A packet that
 * cannot be merged is a group by itself, unchanged behind a header of zeros. That includes packets with a bad checksum,
 * which their receiver must see. Packets of one flow never overtake each other.
 *
 * `begin()`, `add()` for each packet, `finish()`; then read `groupCount` and the pieces. Allocates nothing.
 */
export class Coalescer {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #sum: Sum;
  readonly #tcp: boolean;
  readonly #udp: boolean;
  #generation = 0;
  #packetCount = 0;
  #groupCount = 0;
  #flowCount = 0;
  /** Groups before this one are closed, regardless of their state. */
  #openFrom = 0;
  /** The last packet's group and its flow's slot: the next packet mostly belongs to the same flow. */
  #lastGroup = -1;
  #lastSlot = 0;

  /** By packet: its piece, and the next packet of its group. */
  readonly #offsets: Int32Array;
  readonly #lengths: Int32Array;
  readonly #next: Int32Array;

  /** By group. */
  readonly #kind: Int32Array;
  readonly #state: Int32Array;
  readonly #head: Int32Array;
  readonly #tail: Int32Array;
  readonly #count: Int32Array;
  /** Length of the whole group as one IP packet. */
  readonly #total: Int32Array;
  readonly #headerLength: Int32Array;
  readonly #gsoSize: Int32Array;
  readonly #nextSequence: Int32Array;
  /** PSH and FIN of the last segment. */
  readonly #lastFlags: Int32Array;
  /** Whether its IPv4 identifications are all equal, instead of ascending. */
  readonly #fixedId: Int32Array;
  /** The first packet's sum of the IPv4 header words that its other packets may have different. */
  readonly #variableSum: Int32Array;

  /** Open-addressing hash table: the latest group of each flow. A slot counts only in the batch of its stamp. */
  readonly #slotGroup: Int32Array;
  readonly #slotStamp: Int32Array;

  /** Set by finish(): the packets of all groups in order, and where each group begins. */
  readonly #order: Int32Array;
  readonly #groupStart: Int32Array;

  constructor(arena: Arena, sum: Sum, options: CoalescerOptions = {}) {
    this.#bytes = arena.bytes;
    this.#view = arena.view;
    this.#sum = sum;
    this.#tcp = options.tcp ?? true;
    this.#udp = options.udp ?? true;
    const perPacket = () => new Int32Array(MAX_PACKETS);
    this.#offsets = perPacket();
    this.#lengths = perPacket();
    this.#next = perPacket();
    this.#kind = perPacket();
    this.#state = perPacket();
    this.#head = perPacket();
    this.#tail = perPacket();
    this.#count = perPacket();
    this.#total = perPacket();
    this.#headerLength = perPacket();
    this.#gsoSize = perPacket();
    this.#nextSequence = perPacket();
    this.#lastFlags = perPacket();
    this.#fixedId = perPacket();
    this.#variableSum = perPacket();
    this.#order = perPacket();
    this.#groupStart = perPacket();
    const slots = 2 * MAX_PACKETS; // a power of two
    this.#slotGroup = new Int32Array(slots);
    this.#slotStamp = new Int32Array(slots);
  }

  /** Begins a new batch. */
  begin(): void {
    this.#packetCount = 0;
    this.#groupCount = 0;
    this.#flowCount = 0;
    this.#openFrom = 0;
    this.#lastGroup = -1;
    this.#generation = (this.#generation + 1) | 0;
    if (this.#generation === 0) {
      this.#slotStamp.fill(0);
      this.#generation = 1;
    }
  }

  /**
   * Adds a whole IP packet with 10 spare bytes in front of it (or see `arrange`). It must stay unchanged until its
   * piece is used.
   *
   * @returns false if the batch is full and the packet was not added
   */
  add(offset: number, length: number): boolean {
    if (this.#packetCount === MAX_PACKETS) return false;
    if (offset < VIRTIO.length || length < 0 || offset + length > this.#bytes.length) {
      throw new RangeError('a packet to coalesce lies outside the arena');
    }
    const kind = findKind(this.#view, offset, length);
    if (kind === KIND.opaque) {
      // Finding its flow is not worth the effort, so no packet may overtake it.
      this.#begin(kind, offset, length, STATE.closed);
      this.#openFrom = this.#groupCount;
    } else if (kind === KIND.other || !(isTcp(kind) ? this.#tcp : this.#udp)) {
      this.#begin(kind, offset, length, STATE.closed);
    } else {
      this.#addToFlow(kind, offset, length);
    }
    return true;
  }

  /** Puts the groups in order, and writes all their headers. */
  finish(): void {
    this.arrange();
    for (let group = 0; group < this.#groupCount; group++) this.prepare(group);
  }

  /**
   * `finish` without the headers, for packets with fewer spare bytes in front of them. `prepare` writes a group's
   * headers right before the group is used, over the end of the packet before it. Use the groups in order: then that
   * packet has been used already.
   */
  arrange(): void {
    let at = 0;
    for (let group = 0; group < this.#groupCount; group++) {
      this.#groupStart[group] = at;
      for (let packet = this.#head[group]!; packet >= 0; packet = this.#next[packet]!) {
        this.#order[at++] = packet;
      }
    }
  }

  /** Writes the headers of a group. */
  prepare(group: number): void {
    const header = this.#offsets[this.#head[group]!]!;
    this.#bytes.fill(0, header, header + VIRTIO.length);
    if (this.#count[group]! > 1) this.#writeHeaders(group, header);
  }

  /** How many groups the batch has, in the order of their first packets. */
  get groupCount(): number {
    return this.#groupCount;
  }

  /** How many TCP and UDP flows the batch has. */
  get flowCount(): number {
    return this.#flowCount;
  }

  /** How many pieces a group has. The first is its virtio_net_hdr and first packet, the others are payloads. */
  pieceCount(group: number): number {
    return this.#count[group]!;
  }

  pieceOffset(group: number, piece: number): number {
    return this.#offsets[this.#order[this.#groupStart[group]! + piece]!]!;
  }

  pieceLength(group: number, piece: number): number {
    return this.#lengths[this.#order[this.#groupStart[group]! + piece]!]!;
  }

  /** Total length of a group's packets, each with its own headers. */
  packetBytes(group: number): number {
    return this.#total[group]! + (this.#count[group]! - 1) * this.#headerLength[group]!;
  }

  #addToFlow(kind: Kind, offset: number, length: number): void {
    const view = this.#view;
    const transport = offset + transportOf(kind);
    const tcp = isTcp(kind);
    const header = tcp ? (this.#bytes[transport + TCP.dataOffset]! >> 4) * 4 : UDP.headerLength;
    const headerLength = transport - offset + header;
    const payload = length - headerLength;
    const slot = this.#slotOf(kind, offset, transport);
    const found = this.#slotStamp[slot] === this.#generation ? this.#slotGroup[slot]! : -1;
    this.#lastSlot = slot;
    const flags = tcp ? this.#bytes[transport + TCP.flags]! : 0;
    const mergeable =
      payload > 0 &&
      (tcp
        ? header >= TCP.minLength && (flags & (NEVER | TCP_FLAG.ack)) === TCP_FLAG.ack
        : datagramFits(view, transport, offset + length));
    let state: number = mergeable && (flags & LAST) === 0 ? STATE.unverified : STATE.closed;
    if (mergeable && found >= this.#openFrom && this.#mayJoin(found, kind, offset, headerLength, payload)) {
      if (this.#state[found] === STATE.unverified) this.#verifyFirst(found);
      if (this.#state[found] === STATE.verified) {
        if (this.#hasGoodHeader(found, kind, offset, length) && this.#hasGoodPayload(kind, offset, length)) {
          this.#lastGroup = found;
          this.#join(found, offset + headerLength, payload, flags);
          return;
        }
        state = STATE.closed;
      }
    }
    if (found < 0) this.#flowCount++;
    this.#slotStamp[slot] = this.#generation;
    this.#slotGroup[slot] = this.#groupCount;
    this.#lastGroup = this.#groupCount;
    this.#begin(kind, offset, length, state);
    if (state === STATE.closed) return;
    const group = this.#groupCount - 1;
    this.#headerLength[group] = headerLength;
    this.#gsoSize[group] = payload;
    if (tcp) this.#nextSequence[group] = view.getInt32(transport + TCP.sequence) + payload;
  }

  /** The flow's slot in the table, or one that it may take. */
  #slotOf(kind: Kind, offset: number, transport: number): number {
    const view = this.#view;
    const last = this.#lastGroup;
    if (last >= 0 && this.#kind[last] === kind && sameFlow(view, kind, offset, this.#firstPacket(last))) {
      return this.#lastSlot;
    }
    const mask = this.#slotGroup.length - 1;
    let hash = kind ^ view.getInt32(transport);
    const addresses = isIpv4(kind) ? IPV4.source : IPV6.source;
    for (let at = offset + addresses; at < transport; at += 4) {
      hash = Math.imul(hash ^ view.getInt32(at), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    const home = hash & mask;
    for (let probe = 0; probe < MAX_PROBES; probe++) {
      const slot = (home + probe) & mask;
      if (this.#slotStamp[slot] !== this.#generation) return slot;
      const group = this.#slotGroup[slot]!;
      if (this.#kind[group] !== kind) continue;
      if (sameFlow(view, kind, offset, this.#firstPacket(group))) return slot;
    }
    this.#slotStamp[home] = 0; // no batch: nothing may join the replaced flow
    return home;
  }

  /** Whether a packet may join a group, apart from its checksums. */
  #mayJoin(group: number, kind: Kind, offset: number, headerLength: number, payload: number): boolean {
    if (this.#state[group] === STATE.closed) return false;
    if (headerLength !== this.#headerLength[group] || payload > this.#gsoSize[group]!) return false;
    if (this.#count[group] === MAX_SEGMENTS || this.#total[group]! + payload > MAX_PACKET) return false;
    const view = this.#view;
    const first = this.#firstPacket(group);
    if (isTcp(kind)) {
      const sequence = view.getInt32(offset + transportOf(kind) + TCP.sequence);
      if (sequence !== this.#nextSequence[group]) return false;
    }
    if (!sameHeaders(view, kind, offset, first, headerLength)) return false;
    if (!isIpv4(kind)) return true;
    // RFC 6864: with DF the identification has no meaning, and many senders leave it at zero.
    const word = view.getInt32(offset + IPV4.identification);
    const step = ((word >>> 16) - view.getUint16(first + IPV4.identification)) & 0xffff;
    const count = this.#count[group]!;
    if (count === 1) this.#fixedId[group] = step === 0 && (word & 0x4000) !== 0 ? 1 : 0;
    return step === (this.#fixedId[group] === 1 ? 0 : count);
  }

  #begin(kind: Kind, offset: number, length: number, state: number): void {
    const packet = this.#packetCount++;
    const group = this.#groupCount++;
    this.#offsets[packet] = offset - VIRTIO.length;
    this.#lengths[packet] = length + VIRTIO.length;
    this.#next[packet] = -1;
    this.#kind[group] = kind;
    this.#state[group] = state;
    this.#head[group] = packet;
    this.#tail[group] = packet;
    this.#count[group] = 1;
    this.#total[group] = length;
    this.#lastFlags[group] = 0;
  }

  #join(group: number, payloadOffset: number, payload: number, flags: number): void {
    const packet = this.#packetCount++;
    this.#offsets[packet] = payloadOffset;
    this.#lengths[packet] = payload;
    this.#next[packet] = -1;
    this.#next[this.#tail[group]!] = packet;
    this.#tail[group] = packet;
    this.#count[group]!++;
    this.#total[group]! += payload;
    this.#nextSequence[group]! += payload;
    this.#lastFlags[group] = flags & LAST;
    if (payload < this.#gsoSize[group]! || (flags & LAST) !== 0) this.#state[group] = STATE.closed;
  }

  #verifyFirst(group: number): void {
    const kind = this.#kind[group] as Kind;
    const packet = this.#firstPacket(group);
    const version4 = isIpv4(kind);
    const good =
      (!version4 || this.#sum(packet, IPV4.minLength) === 0xffff) &&
      this.#hasGoodPayload(kind, packet, this.#total[group]!);
    this.#state[group] = good ? STATE.verified : STATE.closed;
    if (version4) this.#variableSum[group] = variableSum(this.#view, packet, this.#total[group]!);
  }

  /**
   * Whether the IPv4 checksum of a joining packet is right. The first packet's is, so only the words that may differ
   * are compared.
   */
  #hasGoodHeader(group: number, kind: Kind, offset: number, length: number): boolean {
    return !isIpv4(kind) || variableSum(this.#view, offset, length) === this.#variableSum[group];
  }

  /** The addresses are right in front of the transport header, so one pass covers both. */
  #hasGoodPayload(kind: Kind, offset: number, length: number): boolean {
    const from = isIpv4(kind) ? IPV4.source : IPV6.source;
    const protocol = isTcp(kind) ? PROTOCOL.tcp : PROTOCOL.udp;
    const transportLength = length - transportOf(kind);
    return fold(this.#sum(offset + from, length - from) + protocol + transportLength) === 0xffff;
  }

  /** Makes the first packet of a group the head of the whole group. */
  #writeHeaders(group: number, header: number): void {
    const view = this.#view;
    const kind = this.#kind[group] as Kind;
    const tcp = isTcp(kind);
    const packet = header + VIRTIO.length;
    const ipLength = transportOf(kind);
    const transport = packet + ipLength;
    const total = this.#total[group]!;
    const checksumOffset: number = tcp ? TCP.checksum : UDP.checksum;
    view.setUint8(header + VIRTIO.flags, NEEDS_CHECKSUM);
    view.setUint8(
      header + VIRTIO.gsoType,
      kind === KIND.tcp4 ? GSO.tcp4 : kind === KIND.tcp6 ? GSO.tcp6 : GSO.udp,
    );
    view.setUint16(header + VIRTIO.headerLength, this.#headerLength[group]!, true);
    view.setUint16(header + VIRTIO.gsoSize, this.#gsoSize[group]!, true);
    view.setUint16(header + VIRTIO.checksumStart, ipLength, true);
    view.setUint16(header + VIRTIO.checksumOffset, checksumOffset, true);
    if (isIpv4(kind)) {
      const checksum = view.getUint16(packet + IPV4.checksum);
      const before = view.getUint16(packet + IPV4.totalLength);
      view.setUint16(packet + IPV4.checksum, updateChecksum(checksum, before, total));
      view.setUint16(packet + IPV4.totalLength, total);
    } else {
      view.setUint16(packet + IPV6.payloadLength, total - IPV6.headerLength);
    }
    if (tcp) this.#bytes[transport + TCP.flags]! |= this.#lastFlags[group]!;
    else view.setUint16(transport + UDP.length, total - ipLength);
    const partial = pseudoHeaderSum(view, packet, tcp ? PROTOCOL.tcp : PROTOCOL.udp, total - ipLength);
    view.setUint16(transport + checksumOffset, partial);
  }

  #firstPacket(group: number): number {
    return this.#offsets[this.#head[group]!]! + VIRTIO.length;
  }
}

/** The sum of the IPv4 header words that may differ between merged packets. Never 0. */
function variableSum(view: DataView, packet: number, length: number): number {
  return fold(length + view.getUint16(packet + IPV4.identification) + view.getUint16(packet + IPV4.checksum));
}

/** Whether a datagram fills its packet and has a checksum. */
function datagramFits(view: DataView, transport: number, end: number): boolean {
  return (
    transport + view.getUint16(transport + UDP.length) === end &&
    view.getUint16(transport + UDP.checksum) !== 0
  );
}
