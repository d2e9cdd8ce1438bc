import type { HubAddress } from '../../protocol/token.js';

/** Where a node looks for its hub. */
export interface HubAddresses {
  /** What the hub, or the token, said last: as many as that has, the best first. */
  readonly addresses: readonly HubAddress[];
  /** By which the hub was reached, and those of tokens: the latest first. */
  readonly proven: readonly HubAddress[];
}

/** Of the proven ones. */
const KEPT = 16;

/** A token was given to `lametun join`: what somebody types is as good as proven. */
export const byToken = (known: HubAddresses | undefined, token: readonly HubAddress[]): HubAddresses => ({
  addresses: token,
  proven: unique([...token, ...(known?.proven ?? [])]).slice(0, KEPT),
});

/**
 * The hub says where it is. Its word alone takes nothing away: what was proven goes only when sixteen others were.
 */
export const told = (known: HubAddresses, addresses: readonly HubAddress[]): HubAddresses =>
  addresses.length === 0 ? known : { ...known, addresses };

/** The hub was reached there. */
export const reached = (known: HubAddresses, address: HubAddress): HubAddresses => ({
  ...known,
  proven: unique([address, ...known.proven]).slice(0, KEPT),
});

/** All of them, in the order in which to try them. */
export const searched = ({ addresses, proven }: HubAddresses): readonly HubAddress[] =>
  unique([...addresses, ...proven]);

function unique(addresses: readonly HubAddress[]): HubAddress[] {
  const seen = new Set<string>();
  return addresses.filter(({ host, port, tls }) => {
    const text = JSON.stringify([host, port, tls]);
    return !seen.has(text) && seen.add(text);
  });
}
