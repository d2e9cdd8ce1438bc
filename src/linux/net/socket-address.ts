import { type IpAddress, isIpv4Mapped, toIpv6 } from '../../ip/address.js';
import type { Endpoint } from '../../ip/endpoint.js';

/** Address families, linux/socket.h. */
export const AF = { unspecified: 0, unix: 1, inet: 2, inet6: 10, netlink: 16, packet: 17 } as const;

/** Socket types, linux/net.h, to be combined with two flags. */
export const SOCK = { stream: 1, datagram: 2, raw: 3, nonblock: 0x800, cloexec: 0x80000 } as const;

export const familyOf = (address: IpAddress): number => (address.length === 4 ? AF.inet : AF.inet6);

/** struct sockaddr_in, linux/in.h: family u16, port u16 big-endian, address 4 bytes, 8 of padding. */
export const SOCKADDR_IN = { family: 0, port: 2, address: 4, size: 16 } as const;

/** struct sockaddr_in6, linux/in6.h: family u16, port u16 big-endian, flow u32, address 16 bytes, scope u32. */
export const SOCKADDR_IN6 = { family: 0, port: 2, flow: 4, address: 8, scope: 24, size: 28 } as const;

/**
 * Writes a socket address for a socket of `family`. An IPv6 socket uses the IPv4-mapped form for IPv4 addresses.
 *
 * @returns its length in bytes; 0 for an IPv6 address on an IPv4 socket
 */
export function writeSocketAddress(
  view: DataView,
  offset: number,
  family: number,
  { address, port, scope = 0 }: Endpoint,
): number {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, SOCKADDR_IN6.size);
  bytes.fill(0);
  if (family === AF.inet && address.length !== 4) return 0;
  view.setUint16(offset + SOCKADDR_IN.family, family, true);
  view.setUint16(offset + SOCKADDR_IN.port, port);
  if (family === AF.inet) {
    bytes.set(address, SOCKADDR_IN.address);
    return SOCKADDR_IN.size;
  }
  bytes.set(toIpv6(address), SOCKADDR_IN6.address);
  view.setUint32(offset + SOCKADDR_IN6.scope, scope, true);
  return SOCKADDR_IN6.size;
}

/** Reads a socket address that the kernel wrote. IPv4-mapped addresses come back as IPv4. */
export function readSocketAddress(view: DataView, offset: number): Endpoint {
  const port = view.getUint16(offset + SOCKADDR_IN.port);
  const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, SOCKADDR_IN6.size);
  if (view.getUint16(offset, true) === AF.inet) {
    return { address: bytes.slice(SOCKADDR_IN.address, SOCKADDR_IN.address + 4), port };
  }
  const address = bytes.slice(SOCKADDR_IN6.address, SOCKADDR_IN6.address + 16);
  if (isIpv4Mapped(address)) return { address: address.slice(12), port };
  return { address, port, scope: view.getUint32(offset + SOCKADDR_IN6.scope, true) };
}
