import { parseAddress } from '../../../ip/address.js';
import { formatEndpoint } from '../../../ip/endpoint.js';
import type { HubAddress } from '../../../protocol/token.js';

/** An address of the hub, resolved. */
export interface Target {
  /** An IPv4 or IPv6 address. */
  readonly ip: string;
  readonly address: HubAddress;
}

/** For people: `203.0.113.5:443`, or `hub.example.org:443 (203.0.113.5)`. */
export function describe({ ip, address: { host, port, tls } }: Target): string {
  const address = parseAddress(host);
  const shown = address === undefined ? `${host}:${port}` : formatEndpoint({ address, port });
  return `${tls ? 'https://' : ''}${shown}${ip === host ? '' : ` (${ip})`}`;
}
