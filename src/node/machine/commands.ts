import type { IpAddress } from '../../ip/address.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { Addresses } from '../../protocol/messages.js';
import type { NodeId } from '../../protocol/node-id.js';
import type { HubCommand } from './hub/hub-events.js';
import type { ProbeSource } from './paths/path-events.js';
import type { RelayRoute } from './paths/relay-link.js';
import type { StoredState } from './stored.js';

/** A node that programs can find by name. */
export interface NamedNode extends Addresses {
  readonly name: string;
  /** Its machine has no IPv6, as it says itself. */
  readonly ipv4Only?: true | undefined;
}

/** Replaces one of the files that a node stores. */
export type StoreCommand = {
  readonly [File in keyof StoredState]: {
    readonly kind: 'store';
    readonly file: File;
    readonly value: StoredState[File];
  };
}[keyof StoredState];

/** What a node wants done, in this order. */
export type NodeCommand =
  | HubCommand
  | StoreCommand
  // Side-channel messages, from the interface's UDP socket.
  /** `hops`: how many routers the datagram may reach, the one that drops it included; unlimited if not given. */
  | { readonly kind: 'datagram'; readonly bytes: Uint8Array; readonly to: Endpoint; readonly hops?: number }
  /** To a member, through the relay. */
  | { readonly kind: 'relayed'; readonly bytes: Uint8Array; readonly peer: NodeId }
  /** To the sender of a message, from the address that it was sent to. */
  | { readonly kind: 'reply'; readonly bytes: Uint8Array; readonly to: ProbeSource }
  // The interface's peers, by member's id.
  | { readonly kind: 'peer'; readonly id: NodeId; readonly key: string; readonly addresses: Addresses }
  | { readonly kind: 'remove-peer'; readonly id: NodeId }
  /** Send data to this endpoint; undefined: through the relay. */
  | { readonly kind: 'endpoint'; readonly peer: NodeId; readonly endpoint: Endpoint | undefined }
  /** Make a session with this peer, if there is none. */
  | { readonly kind: 'greet'; readonly peer: NodeId }
  /** Route exactly these shares: member's id by share. */
  | { readonly kind: 'shares'; readonly owners: ReadonlyMap<string, NodeId> }
  /** Where relayed data goes from now on. It may come from `address` or the channel, whatever the route is. */
  | { readonly kind: 'relay'; readonly route: RelayRoute; readonly address: Endpoint | undefined }
  /** A relay frame came through the channel. The datagram lies in the memory of the handled message. */
  | { readonly kind: 'frame'; readonly peer: NodeId; readonly datagram: Uint8Array }
  // This machine.
  /** `hostPlan` has changed. */
  | { readonly kind: 'host' }
  | { readonly kind: 'names'; readonly nodes: readonly NamedNode[] }
  /** This node was approved, and has addresses. */
  | { readonly kind: 'approved' }
  /** The hub was reached at this address: watch the route to it. */
  | { readonly kind: 'hub'; readonly address: IpAddress }
  // Messages and answers.
  | { readonly kind: 'log'; readonly level: 'error' | 'verbose'; readonly message: string }
  | { readonly kind: 'answer'; readonly token: number; readonly value?: unknown; readonly failure?: Error }
  /** The members are known and have names, or this node is pending. Once. */
  | { readonly kind: 'introduced' }
  /** The hub removed this node. */
  | { readonly kind: 'removed' };
