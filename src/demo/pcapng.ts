/**
 * Writes captures for Wireshark: pcapng, draft-ietf-opsawg-pcapng. Little-endian, one section, one interface a
 * station, nanoseconds.
 */

/** Block types, §4. */
const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;

const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** The length of a section that is not known beforehand: -1. */
const UNKNOWN_LENGTH = 0xffffffff;

/** Options, §3.5, §4.2 and §4.3. */
const OPTION = { end: 0, interfaceName: 2, timestampResolution: 9, userApplication: 4, flags: 2 } as const;
const NANOSECONDS = 9;
/** epb_flags: the lowest two bits say the direction. */
const DIRECTION = { inbound: 1, outbound: 2 } as const;

/** LINKTYPE values, tcpdump.org/linktypes.html. */
export const LINK_TYPE = { ethernet: 1, raw: 101 } as const;

export interface PcapInterface {
  readonly name: string;
  readonly linkType: number;
}

/** The first block of a file. */
export const sectionHeader = (application: string): Uint8Array =>
  block(SECTION_HEADER, [
    u32(BYTE_ORDER_MAGIC),
    u16(1), // version 1.0
    u16(0),
    u32(UNKNOWN_LENGTH),
    u32(UNKNOWN_LENGTH),
    option(OPTION.userApplication, text(application)),
    endOfOptions(),
  ]);

/** Interfaces are numbered from 0 in the order in which they are described. */
export const interfaceDescription = ({ name, linkType }: PcapInterface): Uint8Array =>
  block(INTERFACE_DESCRIPTION, [
    u16(linkType),
    u16(0),
    u32(0), // no limit to a packet's length
    option(OPTION.interfaceName, text(name)),
    option(OPTION.timestampResolution, Uint8Array.of(NANOSECONDS)),
    endOfOptions(),
  ]);

export interface PcapPacket {
  readonly interface: number;
  /** Nanoseconds since 1970. */
  readonly time: bigint;
  readonly bytes: Uint8Array;
  readonly outgoing: boolean;
}

export const enhancedPacket = (packet: PcapPacket): Uint8Array =>
  block(ENHANCED_PACKET, [
    u32(packet.interface),
    u32(Number(packet.time >> 32n)),
    u32(Number(packet.time & 0xffffffffn)),
    u32(packet.bytes.length),
    u32(packet.bytes.length),
    padded(packet.bytes),
    option(OPTION.flags, u32(packet.outgoing ? DIRECTION.outbound : DIRECTION.inbound)),
    endOfOptions(),
  ]);

/** Type, length, body, length again: so a reader can go backwards as well. */
function block(type: number, body: readonly Uint8Array[]): Uint8Array {
  const length = u32(body.reduce((total, part) => total + part.length, 12));
  return Uint8Array.from(Buffer.concat([u32(type), length, ...body, length]));
}

const option = (code: number, value: Uint8Array): Uint8Array =>
  Buffer.concat([u16(code), u16(value.length), padded(value)]);
const endOfOptions = (): Uint8Array => option(OPTION.end, new Uint8Array());

/** Everything is aligned to 32 bits. */
const padded = (bytes: Uint8Array): Uint8Array => Buffer.concat([bytes, new Uint8Array(-bytes.length & 3)]);

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function u16(value: number): Uint8Array {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function u32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
