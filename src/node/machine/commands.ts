import type { IpAddress } from '../../ip/address.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { Addresses } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import type { HubCommand } from './hub/hub-events.js';
import type { ProbeSource } from './paths/path-events.js';
import type { RelayRoute } from './paths/relay-link.js';
import type { StoredState } from './stored.js';

/** A node that programs find by its name. */
export interface NamedNode extends Addresses {
  readonly name: string;
  /** By its own word: its machine has no IPv6. */
  readonly ipv4Only?: true | undefined;
}

/** One of the things that a node keeps, to replace what was kept before. */
export type StoreCommand = {
  readonly [File in keyof StoredState]: {
    readonly kind: 'store';
    readonly file: File;
    readonly value: StoredState[File];
  };
}[keyof StoredState];

/** What a node wants done, to be carried out in this order. */
export type NodeCommand =
  | HubCommand
  | StoreCommand
  // The side channel of the interface's UDP socket.
  /** @see `hops`: how many routers it may pass, the one that drops it included; all unless given */
  | { readonly kind: 'datagram'; readonly bytes: Uint8Array; readonly to: Endpoint; readonly hops?: number }
  /** To a member through the relay, wherever that is now. */
  | { readonly kind: 'relayed'; readonly bytes: Uint8Array; readonly peer: NodeId }
  /** Back to where something came from, from the address that it came to. */
  | { readonly kind: 'reply'; readonly bytes: Uint8Array; readonly to: ProbeSource }
  // The interface's peers, by member's id.
  | { readonly kind: 'peer'; readonly id: NodeId; readonly key: string; readonly addresses: Addresses }
  | { readonly kind: 'remove-peer'; readonly id: NodeId }
  /** Sends data there from now on; undefined: through the relay. */
  | { readonly kind: 'endpoint'; readonly peer: NodeId; readonly endpoint: Endpoint | undefined }
  /** Makes a session with it, if there is none. */
  | { readonly kind: 'greet'; readonly peer: NodeId }
  /** Routes these shares, and no others: member's id by share. */
  | { readonly kind: 'shares'; readonly owners: ReadonlyMap<string, NodeId> }
  /** Where relayed data goes from now on. It may come from `address` or the channel, whatever the route is. */
  | { readonly kind: 'relay'; readonly route: RelayRoute; readonly address: Endpoint | undefined }
  /** A relay frame came through the channel. The datagram lies in the memory of the message that was handled. */
  | { readonly kind: 'frame'; readonly peer: NodeId; readonly datagram: Uint8Array }
  // This machine.
  /** `hostPlan` is another one than before. */
  | { readonly kind: 'host' }
  | { readonly kind: 'names'; readonly nodes: readonly NamedNode[] }
  /** This node was approved, and has addresses from now on. */
  | { readonly kind: 'approved' }
  /** The hub was reached there: the way to it counts from now on. */
  | { readonly kind: 'hub'; readonly address: IpAddress }
  // People, and whoever asked.
  | { readonly kind: 'log'; readonly level: 'error' | 'verbose'; readonly message: string }
  | { readonly kind: 'answer'; readonly token: number; readonly value?: unknown; readonly failure?: Error }
  /** The hub has said who is in the network, and they are found by name; or that this node must wait. Once. */
  | { readonly kind: 'introduced' }
  /** The hub says that this node is no member any more. */
  | { readonly kind: 'removed' };
