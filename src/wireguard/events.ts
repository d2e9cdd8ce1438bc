import type { Keypair } from './keypair.js';
import type { ReceiverIndex } from './numbers.js';

/**
 * Where a peer is, as far as the protocol cares: nothing but identity, and bytes that a cookie is bound to.
 * Endpoints are kept, so they must not change.
 */
export interface PeerEndpoint {
  /** The remote address and port: 4 + 2 or 16 + 2 bytes; 4 more say who it is at a relay. */
  readonly bytes: Uint8Array;
  /** False also when only our own side of it differs, if the implementation keeps that here. */
  equals(other: PeerEndpoint): boolean;
  /** The same place without what is remembered of our own side; undefined where nothing is. */
  readonly withoutSource?: PeerEndpoint | undefined;
}

/**
 * Who says where a peer is: the peers themselves, by each authentic message ([W] 2.1), or whoever owns the device, by
 * `setEndpoint` alone. Answers to handshake messages go back the way these came in either case.
 */
export type PathRule = 'peers' | 'owner';

/** What a device wants done, in this order. The first is for a socket, the rest for the data path. */
export type MachineEvent<Peer> =
  /** Send a handshake message. `peer` is absent for a cookie reply. */
  | { readonly kind: 'datagram'; readonly peer?: Peer; readonly to: PeerEndpoint; readonly bytes: Uint8Array }
  /**
   * Be ready to receive under a keypair. The receiver of this event owns the keys from now on, and must zero
   * them when it has copied them and again where it copied them to, on `drop-keypair`; the machine keeps none.
   */
  | {
      readonly kind: 'install-keypair';
      readonly peer: Peer;
      readonly keypair: Keypair;
      readonly sendingKey: Uint8Array;
      readonly receivingKey: Uint8Array;
    }
  /**
   * Send under an installed keypair, first of all what waits in the peer's queue. With `confirm`, send a
   * keepalive if nothing waits. Without a keypair, queue.
   */
  | {
      readonly kind: 'use-keypair';
      readonly peer: Peer;
      readonly keypair: Keypair | undefined;
      readonly confirm: boolean;
    }
  /** Forget a keypair and erase its keys. */
  | { readonly kind: 'drop-keypair'; readonly peer: Peer; readonly localIndex: ReceiverIndex }
  /** Send an empty packet under the current keypair. */
  | { readonly kind: 'keepalive'; readonly peer: Peer }
  /** The handshake was given up: drop what waits for it. */
  | { readonly kind: 'discard-queue'; readonly peer: Peer }
  /** Send to here from now on, until an authentic packet comes from elsewhere. */
  | { readonly kind: 'endpoint'; readonly peer: Peer; readonly endpoint: PeerEndpoint }
  /** The path may be dead: let the kernel choose our source address anew. */
  | { readonly kind: 'forget-source'; readonly peer: Peer };
