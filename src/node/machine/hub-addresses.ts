import type { HubAddress } from '../../protocol/token.js';

/** Where a node searches for its hub. */
export interface HubAddresses {
  /** From the hub's last announcement or the token, the best first. */
  readonly addresses: readonly HubAddress[];
  /** Addresses that worked or came in a token, the latest first. */
  readonly proven: readonly HubAddress[];
}

/** The most proven addresses. */
const KEPT = 16;

/** A user gave a token to `lametun join`: its addresses count as proven. */
export const byToken = (known: HubAddresses | undefined, token: readonly HubAddress[]): HubAddresses => ({
  addresses: token,
  proven: unique([...token, ...(known?.proven ?? [])]).slice(0, KEPT),
});

/** The hub announced its addresses. That never removes a proven address: only newer proven ones do. */
export const told = (known: HubAddresses, addresses: readonly HubAddress[]): HubAddresses =>
  addresses.length === 0 ? known : { ...known, addresses };

/** The hub was reached at this address. */
export const reached = (known: HubAddresses, address: HubAddress): HubAddresses => ({
  ...known,
  proven: unique([address, ...known.proven]).slice(0, KEPT),
});

/** All addresses, in the order in which to try them. */
export const searched = ({ addresses, proven }: HubAddresses): readonly HubAddress[] =>
  unique([...addresses, ...proven]);

function unique(addresses: readonly HubAddress[]): HubAddress[] {
  const seen = new Set<string>();
  return addresses.filter(({ host, port, tls }) => {
    const text = JSON.stringify([host, port, tls]);
    return !seen.has(text) && seen.add(text);
  });
}
