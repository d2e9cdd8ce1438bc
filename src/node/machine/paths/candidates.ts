import type { IpAddress } from '../../../ip/address.js';
import { isIpv4Mapped } from '../../../ip/address.js';
import { type Cidr, contains, parseCidr } from '../../../ip/cidr.js';
import { type Endpoint, formatEndpoint } from '../../../ip/endpoint.js';

/** As many as fit a `call`. */
export const MAX_CANDIDATES = 8;

const nets = (...texts: readonly string[]): readonly Cidr[] => texts.map((text) => parseCidr(text)!);

/** Where no node can be reached by another: RFC 6890, and ff00::/8. A link-local address means nothing without a link. */
const NOWHERE = nets(
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/128',
  '::1/128',
  'fe80::/10',
  'ff00::/8',
);

/** Used inside of sites: RFC 1918, RFC 4193, RFC 6598. */
const PRIVATE = nets('10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7');

/**
 * Whether probes may go there because somebody said that he is there.
 *
 * @param inside the network's own ranges: what goes there goes into the tunnel
 */
export function isUsable({ address, port }: Endpoint, inside: readonly Cidr[]): boolean {
  if (port === 0 || port > 65_535 || (address.length !== 4 && address.length !== 16)) return false;
  if (isIpv4Mapped(address)) return false; // whoever decodes it makes it an IPv4 address
  return ![...NOWHERE, ...inside].some((network) => contains(network, address));
}

export const isPrivate = (address: IpAddress): boolean =>
  PRIVATE.some((network) => contains(network, address));

/** For maps: the same for the same address and port. */
export const endpointKey = ({ address, port, scope = 0 }: Endpoint): string =>
  `${formatEndpoint({ address, port })}${scope === 0 ? '' : `%${scope}`}`;

/** An address of a network device of this machine. */
export interface LocalAddress {
  readonly device: string;
  /** `tun`, `bridge`; undefined for hardware. */
  readonly kind: string | undefined;
  readonly address: IpAddress;
}

/** What other VPNs and containers make for themselves. A bridge that somebody made by hand may well lead to a LAN. */
const TUNNEL_KINDS = new Set(['tun', 'wireguard', 'ipip', 'sit', 'gre', 'vxlan', 'dummy', 'vti', 'xfrm']);
const CONTAINER_DEVICES =
  /^(?:docker\d*|br-[0-9a-f]{12}|virbr\d+|lxcbr\d+|lxdbr\d+|incusbr\d+|cni\d*|podman\d+|cali.*|flannel.*|kube.*)$/;

/**
 * Where this machine may be reached from outside, the likeliest first: at most as many as fit a call.
 *
 * @param seen as the relay, or nobody, sees us
 */
export function ownCandidates(
  addresses: readonly LocalAddress[],
  port: number,
  seen: Endpoint | undefined,
  inside: readonly Cidr[],
): Endpoint[] {
  const local = addresses
    .filter(({ device, kind }) => !TUNNEL_KINDS.has(kind ?? '') && !CONTAINER_DEVICES.test(device))
    .map(({ address }): Endpoint => ({ address, port }));
  const found = new Map<string, Endpoint>();
  // One of each sort before a second one of any: a machine with twenty addresses has public ones, too.
  const sorts: Endpoint[][] = [
    seen === undefined ? [] : [seen],
    local.filter(({ address }) => address.length === 4),
    local.filter(({ address }) => address.length === 16 && !isPrivate(address)),
    local.filter(({ address }) => address.length === 16 && isPrivate(address)),
  ];
  for (let i = 0; sorts.some((sort) => i < sort.length); i++) {
    for (const sort of sorts) {
      const endpoint = sort[i];
      if (endpoint !== undefined && isUsable(endpoint, inside)) found.set(endpointKey(endpoint), endpoint);
    }
  }
  return [...found.values()].slice(0, MAX_CANDIDATES);
}
