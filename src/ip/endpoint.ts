import { formatAddress, type IpAddress } from './address.js';

/** Where a datagram comes from or goes to: the outer address. */
export interface Endpoint {
  readonly address: IpAddress;
  readonly port: number;
  /** Interface index of a link-local IPv6 address; 0 for all others. */
  readonly scope?: number;
}

/** `192.0.2.1:1234`, `[2001:db8::1]:1234`. */
export function formatEndpoint({ address, port }: Endpoint): string {
  const text = formatAddress(address);
  return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`;
}
