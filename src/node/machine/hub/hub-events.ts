import type { Endpoint } from '../../../ip/endpoint.js';
import type { HubAddress } from '../../../protocol/token.js';
import type { HubFailure } from './hub-failure.js';
import type { SessionOutput } from './hub-session.js';
import type { Target } from './target.js';

/** What the client wants done with its WebSockets. */
export type HubCommand =
  /** Look up the addresses of a host, and pass them to `handleResolved`. */
  | { readonly kind: 'resolve'; readonly host: string }
  | { readonly kind: 'dial'; readonly connection: number; readonly target: Target }
  /** Messages are sent in this order. */
  | { readonly kind: 'send'; readonly connection: number; readonly bytes: Uint8Array }
  /** A WebSocket ping. */
  | { readonly kind: 'ping'; readonly connection: number }
  /** A closing handshake: earlier messages arrive. @see RFC 6455 §7.4 for the code */
  | { readonly kind: 'close'; readonly connection: number; readonly code: number }
  /** Close at once. */
  | { readonly kind: 'abort'; readonly connection: number };

/** What happens to a node's membership and its connection, in this order. */
export type HubEvent =
  | Extract<
      SessionOutput,
      { readonly kind: 'invitation' | 'joined' | 'map' | 'you' | 'addresses' | 'twin' | 'presence' | 'frame' }
    >
  /** Attached. Repeated after `disconnected` and after a map that did not fit, with new relay credentials. */
  | (Omit<Extract<SessionOutput, { readonly kind: 'attached' }>, 'kind'> & {
      readonly kind: 'connected';
      /** For people: `203.0.113.5:443`. */
      readonly where: string;
      /** The remote end of the connection. The relay's UDP port is at the same address. */
      readonly remote: Endpoint;
      /** The hub address that was dialed. */
      readonly by: HubAddress;
    })
  /** A request was answered, or failed: `deliver` tells the asker. */
  | { readonly kind: 'answered'; readonly deliver: () => void }
  /** There is no connection. The client retries in `retryIn` milliseconds; if undefined, it has ended. */
  | {
      readonly kind: 'disconnected';
      /** Of the kind `removed`: this node is no longer a member. */
      readonly failure: HubFailure;
      readonly retryIn: number | undefined;
    };

/** What a client is doing. */
export type HubState =
  | { readonly kind: 'connecting' | 'connected' }
  | { readonly kind: 'waiting' | 'ended'; readonly failure: HubFailure };
