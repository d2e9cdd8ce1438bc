/** The fields of an inner packet that WireGuard reads: RFC 791 §3.1 and RFC 8200 §3. */
const IPV4 = { totalLength: 2, source: 12, destination: 16, minLength: 20 } as const;
const IPV6 = { payloadLength: 4, source: 8, destination: 24, headerLength: 40 } as const;

/**
 * The length field of an inner packet. The bytes after it are padding ([W] 5.4.6).
 *
 * @returns 0 when it is not an IP packet, or when the field exceeds the packet or is shorter than a header
 */
export function innerLength(packet: Uint8Array): number {
  const version = (packet[0] ?? 0) >> 4;
  if (version === 4 && packet.length >= IPV4.minLength) {
    const length = (packet[IPV4.totalLength]! << 8) | packet[IPV4.totalLength + 1]!;
    return length >= IPV4.minLength && length <= packet.length ? length : 0;
  }
  if (version === 6 && packet.length >= IPV6.headerLength) {
    const payload = (packet[IPV6.payloadLength]! << 8) | packet[IPV6.payloadLength + 1]!;
    const length = IPV6.headerLength + payload;
    return length <= packet.length ? length : 0;
  }
  return 0;
}

/** The offsets of the addresses in a packet. Check `innerLength` first. */
export const innerAddresses = (
  packet: Uint8Array,
): { readonly source: number; readonly destination: number } => (packet[0]! >> 4 === 4 ? IPV4 : IPV6);
