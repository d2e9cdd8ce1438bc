import type { Keypair } from './keypair.js';
import type { ReceiverIndex } from './numbers.js';

/**
 * Where a peer is. The protocol needs only to compare endpoints, and the bytes that a cookie is bound to. It keeps
 * endpoints, so they must not change.
 */
export interface PeerEndpoint {
  /** The remote address and port: 4 + 2 or 16 + 2 bytes, and 4 more for a member behind a relay. */
  readonly bytes: Uint8Array;
  /** False also when only the local address differs, if the implementation stores it. */
  equals(other: PeerEndpoint): boolean;
  /** The same endpoint without the local address; undefined if it has none. */
  readonly withoutSource?: PeerEndpoint | undefined;
}

/**
 * What sets a peer's endpoint: each authentic message of the peer ([W] 2.1), or only the device's owner, by `setEndpoint`.
 * In both cases a handshake message is answered to the address that it came from.
 */
export type PathRule = 'peers' | 'owner';

/** What a device wants done, in this order. A datagram is for the socket, the others are for the data path. */
export type MachineEvent<Peer> =
  /** Send a handshake message. `peer` is absent for a cookie reply. */
  | { readonly kind: 'datagram'; readonly peer?: Peer; readonly to: PeerEndpoint; readonly bytes: Uint8Array }
  /**
   * Be ready to receive under a keypair. The receiver of this event owns the keys. It must zero them here after
   * copying them, and zero the copy on `drop-keypair`. The machine keeps none.
   */
  | {
      readonly kind: 'install-keypair';
      readonly peer: Peer;
      readonly keypair: Keypair;
      readonly sendingKey: Uint8Array;
      readonly receivingKey: Uint8Array;
    }
  /**
   * Send under an installed keypair, beginning with the peer's queue. With `confirm`, send a
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
  /** The handshake was given up: drop the packets that wait for it. */
  | { readonly kind: 'discard-queue'; readonly peer: Peer }
  /** Send to this endpoint until an authentic packet comes from another one. */
  | { readonly kind: 'endpoint'; readonly peer: Peer; readonly endpoint: PeerEndpoint }
  /** The path may be dead: let the kernel choose our source address anew. */
  | { readonly kind: 'forget-source'; readonly peer: Peer };
