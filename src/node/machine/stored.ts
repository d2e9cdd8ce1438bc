import { parseAddress } from '../../ip/address.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { MapMessage } from '../../protocol/map.js';
import type { Membership, NetworkInfo } from '../../protocol/messages.js';
import type { HubAddresses } from './hub-addresses.js';
import type { StoredNames } from './known-names.js';
import type { RecentPeers } from './paths/greetings.js';

/** What a node must know to be one. */
export interface StoredNode {
  readonly network: NetworkInfo;
  readonly you: Membership;
  readonly hub: HubAddresses & {
    /** Base64. */
    readonly key: string;
  };
  /** The UDP port; the same after a restart, for peers that have the old address. */
  readonly port: number;
  /** The network interface. */
  readonly device: string;
  /** What it offers, whatever the hub has decided. */
  readonly shares: readonly string[];
}

/** Where each peer answered last: `192.168.1.7:41641`. */
export type StoredEndpoints = readonly { readonly node: number; readonly at: string }[];

/** What a node keeps in its state directory, but for its key. */
export interface StoredState {
  readonly node: StoredNode;
  readonly map: MapMessage;
  readonly endpoints: StoredEndpoints;
  readonly names: StoredNames;
  readonly recent: RecentPeers;
}

/** Reads `192.168.1.7:41641` or `[2001:db8::1]:41641`; undefined when it is none. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const [, six, four, port] = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text) ?? [];
  const address = parseAddress(six ?? four ?? '');
  return address === undefined || Number(port) > 65_535 ? undefined : { address, port: Number(port) };
}
