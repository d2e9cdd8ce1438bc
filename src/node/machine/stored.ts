import { parseAddress } from '../../ip/address.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { MapMessage } from '../../protocol/map.js';
import type { Membership, NetworkInfo } from '../../protocol/messages.js';
import type { HubAddresses } from './hub-addresses.js';
import type { StoredNames } from './known-names.js';
import type { RecentPeers } from './paths/greetings.js';

/** What a member stores of itself. */
export interface StoredNode {
  readonly network: NetworkInfo;
  readonly you: Membership;
  readonly hub: HubAddresses & {
    /** Base64. */
    readonly key: string;
  };
  /** The UDP port. A restart keeps it, for peers that know the endpoint. */
  readonly port: number;
  /** The network interface. */
  readonly interface: string;
  /** The shares that it offers, approved or not. */
  readonly shares: readonly string[];
}

/** The last endpoint of each peer: `192.168.1.7:41641`. */
export type StoredEndpoints = readonly { readonly node: number; readonly at: string }[];

/** The files of a node in its state directory, except its key. */
export interface StoredState {
  readonly node: StoredNode;
  readonly map: MapMessage;
  readonly endpoints: StoredEndpoints;
  readonly names: StoredNames;
  readonly recent: RecentPeers;
}

/** Parses `192.168.1.7:41641` or `[2001:db8::1]:41641`. @returns undefined if the text is not an endpoint */
export function parseEndpoint(text: string): Endpoint | undefined {
  const [, six, four, port] = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text) ?? [];
  const address = parseAddress(six ?? four ?? '');
  return address === undefined || Number(port) > 65_535 ? undefined : { address, port: Number(port) };
}
