import type { Endpoint } from '../../../ip/endpoint.js';
import type { NodeId } from '../../../protocol/node-id.js';
import type { Probe } from '../../../protocol/probe.js';

/** Where a probe came from, and where to send an answer: a `SocketEndpoint` of the tunnel, outside tests. */
export interface ProbeSource {
  readonly remote: Endpoint;
  /** Not 0: it came through the relay, and `remote` is the relay's endpoint. */
  readonly relayPeer: number;
}

/** What `Paths` wants done. */
export type PathEvent =
  | {
      readonly kind: 'probe';
      readonly peer: NodeId;
      readonly probe: Probe;
      /** Undefined: through the relay. */
      readonly to: Endpoint | undefined;
      /** How many routers it may reach, the one that drops it included; unlimited if not given. */
      readonly hops?: number;
      /** Of a pong: where the ping came from. */
      readonly back?: ProbeSource;
    }
  /** Send data to this endpoint; undefined: through the relay. */
  | { readonly kind: 'use'; readonly peer: NodeId; readonly endpoint: Endpoint | undefined }
  /** The result of `Paths.ping`: the round-trip time in milliseconds; undefined after a timeout. */
  | { readonly kind: 'answer'; readonly token: number; readonly rtt: number | undefined };
