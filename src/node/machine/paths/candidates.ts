import { type IpAddress, isIpv4Mapped } from '../../../ip/address.js';
import { type Cidr, contains, PRIVATE, parseCidr } from '../../../ip/cidr.js';
import { type Endpoint, formatEndpoint } from '../../../ip/endpoint.js';

/** The most that fit in a `call`. */
export const MAX_CANDIDATES = 8;

/** Where no node can be reached: RFC 6890, ff00::/8, and link-local addresses, which need an interface. */
const UNREACHABLE: readonly Cidr[] = [
  ...['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '240.0.0.0/4'],
  ...['::/128', '::1/128', 'fe80::/10', 'ff00::/8'],
].map((text) => parseCidr(text)!);

/**
 * Whether to probe an endpoint that a peer has named, or that a probe came from.
 *
 * @param inside what is routed into the tunnel
 */
export function isUsable({ address, port }: Endpoint, inside: readonly Cidr[]): boolean {
  if (port === 0 || port > 65_535 || (address.length !== 4 && address.length !== 16)) return false;
  if (isIpv4Mapped(address)) return false; // decoding turns it into an IPv4 address
  return ![...UNREACHABLE, ...inside].some((network) => contains(network, address));
}

export const isPrivate = (address: IpAddress): boolean =>
  PRIVATE.some((network) => contains(network, address));

/** A key for maps. */
export const endpointKey = ({ address, port, scope = 0 }: Endpoint): string =>
  `${formatEndpoint({ address, port })}${scope === 0 ? '' : `%${scope}`}`;

/** An address of an interface of this machine. */
export interface LocalAddress {
  readonly device: string;
  /** `tun`, `bridge`; undefined for hardware. */
  readonly kind: string | undefined;
  readonly address: IpAddress;
}

/** Interfaces of other VPNs and of containers. A bridge that an administrator made may lead to a LAN. */
const TUNNEL_KINDS = new Set(['tun', 'wireguard', 'ipip', 'sit', 'gre', 'vxlan', 'dummy', 'vti', 'xfrm']);
const CONTAINER_DEVICES =
  /^(?:docker\d*|br-[0-9a-f]{12}|virbr\d+|lxcbr\d+|lxdbr\d+|incusbr\d+|cni\d*|podman\d+|cali.*|flannel.*|kube.*)$/;

/**
 * The endpoints at which this machine may be reached, the likeliest first: as many as fit in a `call`.
 *
 * @param seen this node's endpoint as the relay sees it
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
  // One of each sort before a second one of any: a machine with twenty addresses may have a public one among them.
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
