import type { Endpoint } from '../../../ip/endpoint.js';
import type { MapChange } from '../../../protocol/map.js';
import type { HubMessage, Membership, NetworkInfo, RelayCredentials } from '../../../protocol/messages.js';
import type { NodeId } from '../../../protocol/node-id.js';
import type { HubAddress } from '../../../protocol/token.js';
import type { HubFailure } from './hub-failure.js';
import type { Target } from './target.js';

/** What the client wants done with its WebSockets. */
export type HubCommand =
  /** Look the addresses of a host up; `handleResolved` takes them. */
  | { readonly kind: 'resolve'; readonly host: string }
  | { readonly kind: 'dial'; readonly connection: number; readonly target: Target }
  /** A message, to be sent in this order. */
  | { readonly kind: 'send'; readonly connection: number; readonly bytes: Uint8Array }
  /** A WebSocket ping. */
  | { readonly kind: 'ping'; readonly connection: number }
  /** In good order: what was sent before arrives. @see RFC 6455 §7.4 for the code */
  | { readonly kind: 'close'; readonly connection: number; readonly code: number }
  /** At once. */
  | { readonly kind: 'abort'; readonly connection: number };

/** What happens to a node's membership and its connection, in this order. */
export type HubEvent =
  /** Before joining: does this network suit this machine? `proceed` or `refuse` goes on. */
  | { readonly kind: 'invitation'; readonly network: NetworkInfo }
  /** This node is a member now, and has to be kept as such. Once, and only of a machine that joins. */
  | { readonly kind: 'joined'; readonly network: NetworkInfo; readonly you: Membership }
  /** Attached. It comes again after `disconnected`, and when a map did not fit: with other credentials for the relay. */
  | {
      readonly kind: 'connected';
      /** For people: `203.0.113.5:443`. */
      readonly where: string;
      /** Where the connection leads: the relay's UDP port is at the same address. */
      readonly remote: Endpoint;
      /** This end of it: an address of this machine that leads to the hub. */
      readonly local: Endpoint;
      readonly network: NetworkInfo;
      readonly you: Membership;
      readonly relay: RelayCredentials;
      /** The address by which it was reached. */
      readonly by: HubAddress;
      /** Where the hub says that it is. */
      readonly addresses: readonly HubAddress[];
    }
  /** The map (`options.map`) was changed already. */
  | { readonly kind: 'map'; readonly change: MapChange }
  /** Something of this node's own. */
  | { readonly kind: 'you'; readonly you: Membership }
  /** Where the hub says that it is from now on. */
  | { readonly kind: 'addresses'; readonly addresses: readonly HubAddress[] }
  /** Another machine, at this address, tried to connect with this node's key. */
  | { readonly kind: 'twin'; readonly address: string }
  /** Which members are connected to the hub, and which are not. */
  | { readonly kind: 'presence'; readonly presence: Extract<HubMessage, { type: 'presence' }> }
  /** Through the WebSocket. The datagram lies in the memory of the message that was handled. */
  | { readonly kind: 'frame'; readonly peer: NodeId; readonly datagram: Uint8Array }
  /** What became of a question. */
  | { readonly kind: 'answer'; readonly token: number; readonly value: unknown; readonly failure?: undefined }
  | {
      readonly kind: 'answer';
      readonly token: number;
      readonly value?: undefined;
      readonly failure: HubFailure;
    }
  /** This node is no member any more. The client has ended. */
  | { readonly kind: 'removed'; readonly failure: HubFailure }
  /** There is no connection. The client tries again in `retryIn` milliseconds, or has ended when that is undefined. */
  | {
      readonly kind: 'disconnected';
      readonly failure: HubFailure;
      readonly retryIn: number | undefined;
    };

/** What a client does at the moment. */
export type HubState =
  | { readonly kind: 'connecting'; readonly where: string }
  | { readonly kind: 'connected'; readonly where: string }
  | { readonly kind: 'waiting'; readonly failure: HubFailure }
  | { readonly kind: 'ended'; readonly failure: HubFailure };
