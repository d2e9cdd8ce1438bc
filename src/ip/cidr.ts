import { formatAddress, type IpAddress, parseAddress } from './address.js';

/** An address with the length of its network's prefix, RFC 4632: `10.0.0.1/24`. Host bits may be set. */
export interface Cidr {
  readonly address: IpAddress;
  /** In bits: 0 to 32 for IPv4, 0 to 128 for IPv6. */
  readonly prefix: number;
}

/** @returns undefined if the text is not `ADDRESS/PREFIX` */
export function parseCidr(text: string): Cidr | undefined {
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  const address = match === null ? undefined : parseAddress(match[1]!);
  const prefix = Number(match?.[2]);
  return address === undefined || prefix > address.length * 8 ? undefined : { address, prefix };
}

export const formatCidr = ({ address, prefix }: Cidr): string => `${formatAddress(address)}/${prefix}`;

/** The network of a CIDR: the same prefix, with all host bits zero. */
export function networkOf({ address, prefix }: Cidr): Cidr {
  const masked = address.map((byte, i) => byte & maskByte(prefix, i));
  return { address: masked, prefix };
}

/** Whether a network contains an address. Addresses of the other family are in none. */
export function contains(network: Cidr, address: IpAddress): boolean {
  if (network.address.length !== address.length) return false;
  for (let i = 0; 8 * i < network.prefix; i++)
    if (((address[i]! ^ network.address[i]!) & maskByte(network.prefix, i)) !== 0) return false;
  return true;
}

/** Whether two networks overlap, so that one contains the other. */
export function overlap(a: Cidr, b: Cidr): boolean {
  return a.prefix <= b.prefix ? contains(a, b.address) : contains(b, a.address);
}

/** Whether `outer` contains all of `inner`. */
export const covers = (outer: Cidr, inner: Cidr): boolean =>
  outer.prefix <= inner.prefix && contains(outer, inner.address);

/** The `index`-th byte of the mask that has `prefix` leading ones. */
function maskByte(prefix: number, index: number): number {
  const ones = Math.min(8, Math.max(0, prefix - 8 * index));
  return (0xff00 >> ones) & 0xff;
}

/** RFC 1122 §3.2.1.3, RFC 4291 §2.5.3. */
export const LOOPBACK: readonly Cidr[] = ['127.0.0.0/8', '::1/128'].map((text) => parseCidr(text)!);

/** Addresses for use inside sites: RFC 1918 §3, RFC 6598, RFC 4193. */
export const PRIVATE: readonly Cidr[] = [
  ...['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'],
].map((text) => parseCidr(text)!);

/** In bits of prefix. No private network is wider. */
const WIDEST = { ipv4: 8, ipv6: 7 } as const;

/** Whether a route is a default route, or one of the halves and quarters that VPNs use instead. */
export const standsForAll = ({ address, prefix }: Cidr): boolean =>
  prefix < (address.length === 4 ? WIDEST.ipv4 : WIDEST.ipv6);
