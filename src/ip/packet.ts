/** IPv4 header, RFC 791 §3.1. Byte offsets; big-endian. */
export const IPV4 = {
  versionAndHeaderLength: 0,
  typeOfService: 1,
  totalLength: 2,
  identification: 4,
  fragment: 6,
  timeToLive: 8,
  protocol: 9,
  checksum: 10,
  source: 12,
  destination: 16,
  minLength: 20,
} as const;

/** IPv6 header, RFC 8200 §3. Byte offsets; big-endian. */
export const IPV6 = {
  payloadLength: 4,
  nextHeader: 6,
  hopLimit: 7,
  source: 8,
  destination: 24,
  headerLength: 40,
} as const;

/** TCP header, RFC 9293 §3.1. Byte offsets; big-endian. */
export const TCP = {
  sequence: 4,
  acknowledgment: 8,
  dataOffset: 12,
  flags: 13,
  checksum: 16,
  minLength: 20,
} as const;

/** Bits of the byte at `TCP.flags`. */
export const TCP_FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ece: 64, cwr: 128 } as const;

/** UDP header, RFC 768. Byte offsets; big-endian. */
export const UDP = { length: 4, checksum: 6, headerLength: 8 } as const;

/** Protocol numbers that this package uses, from IANA's registry. */
export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;

/** The first nibble of every IP packet. */
export const ipVersion = (view: DataView, offset: number): number => view.getUint8(offset) >> 4;

/**
 * Checks that `length` bytes are one whole IP packet: a version this package knows, a header that fits, and
 * a length field that tells the truth. Everything after this check may read the fixed header freely.
 *
 * @returns 4 or 6, or 0 if it is not an IP packet of exactly that length
 */
export function wholePacket(view: DataView, offset: number, length: number): 4 | 6 | 0 {
  if (length < IPV4.minLength || offset + length > view.byteLength) return 0;
  const version = ipVersion(view, offset);
  if (version === 4) {
    const headerLength = (view.getUint8(offset) & 0x0f) * 4;
    const whole = view.getUint16(offset + IPV4.totalLength) === length;
    return whole && headerLength >= IPV4.minLength && headerLength <= length ? 4 : 0;
  }
  if (version === 6 && length >= IPV6.headerLength) {
    return view.getUint16(offset + IPV6.payloadLength) + IPV6.headerLength === length ? 6 : 0;
  }
  return 0;
}

/** A packet described for people: `10.0.0.2 → 10.0.0.1 ICMP`. */
export interface PacketSummary {
  readonly version: 4 | 6;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly protocol: number;
  /** TCP or UDP ports, if the packet has that header. */
  readonly ports?: { readonly source: number; readonly destination: number };
}

/**
 * Describes a packet for logs and lessons; not for the hot path.
 *
 * @param packet the packet, or at least its first bytes
 * @returns undefined if even the fixed header is missing
 */
export function summarize(packet: Uint8Array): PacketSummary | undefined {
  if (packet.length < IPV4.minLength) return undefined;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const version = ipVersion(view, 0);
  if (version === 4) {
    const headerLength = (view.getUint8(0) & 0x0f) * 4;
    const firstFragment = (view.getUint16(IPV4.fragment) & 0x1fff) === 0;
    return {
      version,
      source: packet.slice(IPV4.source, IPV4.source + 4),
      destination: packet.slice(IPV4.destination, IPV4.destination + 4),
      protocol: view.getUint8(IPV4.protocol),
      ...(firstFragment && portsOf(view, view.getUint8(IPV4.protocol), headerLength)),
    };
  }
  if (version === 6 && packet.length >= IPV6.headerLength) {
    return {
      version,
      source: packet.slice(IPV6.source, IPV6.source + 16),
      destination: packet.slice(IPV6.destination, IPV6.destination + 16),
      protocol: view.getUint8(IPV6.nextHeader),
      ...portsOf(view, view.getUint8(IPV6.nextHeader), IPV6.headerLength),
    };
  }
  return undefined;
}

function portsOf(view: DataView, protocol: number, offset: number): Pick<PacketSummary, 'ports'> {
  if (protocol !== PROTOCOL.tcp && protocol !== PROTOCOL.udp) return {};
  if (view.byteLength < offset + 4) return {};
  return { ports: { source: view.getUint16(offset), destination: view.getUint16(offset + 2) } };
}

const PROTOCOL_NAME: Readonly<Record<number, string>> = {
  [PROTOCOL.icmp]: 'ICMP',
  [PROTOCOL.tcp]: 'TCP',
  [PROTOCOL.udp]: 'UDP',
  [PROTOCOL.icmpv6]: 'ICMPv6',
};

/** `TCP`, or `protocol 47` where this package has no name for it. */
export const protocolName = (protocol: number): string => PROTOCOL_NAME[protocol] ?? `protocol ${protocol}`;
