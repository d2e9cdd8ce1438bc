import { networkInterfaces } from 'node:os';
import { LametunError } from '../../errors.js';
import { parseAddress } from '../../ip/address.js';
import { type Cidr, contains, LOOPBACK, PRIVATE, parseCidr } from '../../ip/cidr.js';
import { type HubAddress, isHost } from '../../protocol/token.js';

/** The maximum in a token. */
const MAX_ADDRESSES = 8;

/** Not reachable from elsewhere: RFC 6890. */
const LINK_LOCAL = ['169.254.0.0/16', 'fe80::/10'].map((text) => parseCidr(text)!);

const isIn = (list: readonly Cidr[], text: string): boolean => {
  const address = parseAddress(text);
  return address !== undefined && list.some((network) => contains(network, address));
};

export const isLoopback = (address: string): boolean => isIn(LOOPBACK, address);

export interface TokenAddresses {
  readonly addresses: readonly HubAddress[];
  readonly warnings: readonly string[];
}

/**
 * The addresses for tokens: the given ones, or this machine's public ones, or its private ones with a warning.
 *
 * @param given `HOST`, `HOST:PORT`, or `https://HOST[:PORT]` for a proxy with TLS
 * @param own this machine's addresses, as text
 * @param inside the network's own ranges, which a joining machine cannot reach yet
 * @throws LametunError `usage` when a given one is invalid, or there is no address at all
 */
export function tokenAddresses(
  given: readonly string[],
  port: number,
  own: readonly string[] = ownAddresses(),
  inside: readonly Cidr[] = [],
): TokenAddresses {
  if (given.length > 0) {
    return { addresses: given.map((text) => parsePublic(text, port)).slice(0, MAX_ADDRESSES), warnings: [] };
  }
  const isReachable = (address: string): boolean =>
    ![LOOPBACK, LINK_LOCAL, inside].some((list) => isIn(list, address));
  const reachable = own.filter(isReachable);
  const isPrivate = (address: string): boolean => isIn(PRIVATE, address);
  const isPublic = (address: string): boolean => !isPrivate(address);
  // Both families: some nodes have only one.
  const ordered = [...reachable.filter(isPublic), ...reachable.filter(isPrivate)];
  const addresses = ordered.slice(0, MAX_ADDRESSES).map((host) => ({ host, port, tls: false }));
  if (addresses.length === 0) {
    throw new LametunError(
      'usage',
      'this machine has no address that others could reach: name one with --public',
    );
  }
  if (reachable.some(isPublic)) return { addresses, warnings: [] };
  return {
    addresses,
    warnings: [
      'none of these addresses is public: machines elsewhere cannot reach this hub by them. Give its public address with ' +
        '--public HOST[:PORT]',
    ],
  };
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
}

/**
 * Parses an address of `--public`.
 *
 * @param port the hub's own, used if the text has none
 * @throws LametunError `usage`
 */
export function parsePublic(text: string, port: number): HubAddress {
  if (/^https?:\/\//i.test(text)) {
    let url: URL;
    try {
      url = new URL(text);
    } catch {
      throw wrong(text);
    }
    if (url.protocol !== 'https:' || (url.pathname !== '/' && url.pathname !== '')) throw wrong(text);
    return { host: unbracketed(url.hostname), port: url.port === '' ? 443 : Number(url.port), tls: true };
  }
  if (parseAddress(text) !== undefined) return { host: text, port, tls: false };
  const match = /^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(text);
  const host = match === null ? undefined : unbracketed(match[1]!);
  const given = match?.[2] === undefined ? port : Number(match[2]);
  const isBracketed = text.startsWith('[');
  if (host === undefined || given < 1 || given > 65_535) throw wrong(text);
  if (isBracketed && parseAddress(host)?.length !== 16) throw wrong(text);
  if (!isBracketed && !isHost(host)) throw wrong(text);
  return { host, port: given, tls: false };
}

const unbracketed = (host: string): string => host.replace(/^\[(.*)\]$/, '$1');

const wrong = (text: string): LametunError =>
  new LametunError(
    'usage',
    `--public ${text} is not an address: write HOST, HOST:PORT, [IPV6]:PORT or https://HOST[:PORT]`,
  );
