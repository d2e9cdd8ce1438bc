import type { Brand } from '../brand.js';

/** Identifies the receiver's handshake or session in a message, [W] 5.4. */
export type ReceiverIndex = Brand<'receiver index'>;
/** Never allocated. */
export const NO_INDEX = 0 as ReceiverIndex;

/** The caller's number for a peer: its row in tables, its name in a prefix table. */
export type PeerNumber = Brand<'peer number'>;
