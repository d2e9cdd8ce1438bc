import type { Endpoint } from '../../../ip/endpoint.js';
import type { HubAddress } from '../../../protocol/token.js';
import type { HubFailure } from './hub-failure.js';
import type { SessionOutput } from './hub-session.js';
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
  | Extract<
      SessionOutput,
      { readonly kind: 'invitation' | 'joined' | 'map' | 'you' | 'addresses' | 'twin' | 'presence' | 'frame' }
    >
  /** Attached. It comes again after `disconnected`, and when a map did not fit: with other credentials for the relay. */
  | (Omit<Extract<SessionOutput, { readonly kind: 'attached' }>, 'kind'> & {
      readonly kind: 'connected';
      /** For people: `203.0.113.5:443`. */
      readonly where: string;
      /** Where the connection leads: the relay's UDP port is at the same address. */
      readonly remote: Endpoint;
      /** This end of it: an address of this machine that leads to the hub. */
      readonly local: Endpoint;
      /** The address by which it was reached. */
      readonly by: HubAddress;
    })
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
