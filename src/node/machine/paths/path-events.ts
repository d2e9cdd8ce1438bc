import type { Endpoint } from '../../../ip/endpoint.js';
import type { NodeId } from '../../../protocol/node-id.js';
import type { Probe } from '../../../protocol/probe.js';

/** Where a probe came from: `SocketEndpoint` of the tunnel, or whatever else its owner will send the answer back to. */
export interface ProbeSource {
  readonly remote: Endpoint;
  /** Not 0: through the relay, and then `remote` is that. */
  readonly relayPeer: number;
}

/** What the machine that chooses paths wants done. */
export type PathEvent =
  | {
      readonly kind: 'probe';
      readonly peer: NodeId;
      readonly probe: Probe;
      /** Undefined: through the relay. */
      readonly to: Endpoint | undefined;
      /** How many routers it may pass, the one that drops it included; as many as there are unless given. */
      readonly hops?: number;
      /** Of an answer: what it answers came from here. */
      readonly back?: ProbeSource;
    }
  /** Send data there from now on. Undefined: through the relay. */
  | { readonly kind: 'use'; readonly peer: NodeId; readonly endpoint: Endpoint | undefined }
  /** What somebody asked for by `ping`; without `rtt` there was no answer in time. */
  | { readonly kind: 'answer'; readonly token: number; readonly rtt: number | undefined };
