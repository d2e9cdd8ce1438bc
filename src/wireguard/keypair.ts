import {
  REJECT_AFTER_MESSAGES,
  REJECT_AFTER_TIME,
  REKEY_AFTER_MESSAGES,
  REKEY_AFTER_TIME,
  REKEY_AFTER_TIME_RECEIVING,
} from './constants.js';
import type { ReceiverIndex } from './numbers.js';

/** A session's parameters without the keys, which only the data path has. */
export interface Keypair {
  /** The receiver index in what we receive, unique in this device. */
  readonly localIndex: ReceiverIndex;
  /** The receiver index in what we send. */
  readonly remoteIndex: ReceiverIndex;
  /** Whether we began. Only the initiator makes the next session, so that the two do not both try. */
  readonly initiator: boolean;
  readonly createdAt: number;
  /** Data sent after this time asks for a new session, [W] 6.2. */
  readonly rekeySendingAt: number;
  /** Data received after this time asks for a new session, [W] 6.2. */
  readonly rekeyReceivingAt: number;
  /** After this time nothing is sent or received under it, [W] 6.2. */
  readonly rejectAt: number;
}

export const makeKeypair = (
  localIndex: ReceiverIndex,
  remoteIndex: ReceiverIndex,
  initiator: boolean,
  now: number,
): Keypair => ({
  localIndex,
  remoteIndex,
  initiator,
  createdAt: now,
  rekeySendingAt: initiator ? now + REKEY_AFTER_TIME : Infinity,
  rekeyReceivingAt: initiator ? now + REKEY_AFTER_TIME_RECEIVING : Infinity,
  rejectAt: now + REJECT_AFTER_TIME,
});

/** Whether the next packet may go out under a keypair, [W] 6.2. `counter` is the one it would have. */
export const maySend = (keypair: Keypair, counter: number, now: number): boolean =>
  now < keypair.rejectAt && counter < REJECT_AFTER_MESSAGES;

/** Whether a packet sent under a keypair asks for a new session, [W] 6.2. */
export const wantsRekeySending = (keypair: Keypair, counter: number, now: number): boolean =>
  now >= keypair.rekeySendingAt || counter >= REKEY_AFTER_MESSAGES;

/**
 * The up to three keypairs of a peer. Sending is always under `current`; receiving under all three, since
 * packets overtake each other. `next` is one that we made as the responder: we may not use it before the
 * initiator has shown, by a first packet, that it has the keys too.
 *
 * When both sides begin at once, each has two sessions, and would send under the one that it began. Both sessions work.
 * So that nothing is lost at the next rekey, one side, the `senior`, keeps its own, and the other adopts it.
 */
export class Keypairs {
  previous: Keypair | undefined;
  current: Keypair | undefined;
  next: Keypair | undefined;

  /** A handshake ended. Returns the keypairs that it made useless. */
  begin(keypair: Keypair): Keypair[] {
    if (!keypair.initiator) {
      const dropped = present(this.next);
      this.next = keypair;
      return dropped;
    }
    const dropped = present(this.previous);
    this.previous = this.current;
    this.current = keypair;
    return dropped;
  }

  /**
   * A first packet came in under a keypair. Returns what it made useless, or undefined if it is not `next`.
   *
   * @param senior which of two peers we are; each must say the opposite
   */
  confirm(localIndex: ReceiverIndex, senior: boolean): Keypair[] | undefined {
    const { current, next } = this;
    if (next?.localIndex !== localIndex) return undefined;
    const dropped = present(this.previous);
    this.next = undefined;
    if (senior && current?.initiator && current.createdAt >= next.createdAt) {
      this.previous = next;
    } else {
      this.previous = current;
      this.current = next;
    }
    return dropped;
  }

  clear(): Keypair[] {
    const dropped = present(this.previous, this.current, this.next);
    this.previous = this.current = this.next = undefined;
    return dropped;
  }
}

const present = (...keypairs: readonly (Keypair | undefined)[]): Keypair[] =>
  keypairs.filter((keypair) => keypair !== undefined);
