import { EMPTY, LENGTH } from '../wireguard/crypto.js';
import type { NodeId } from './node-id.js';
import type { Cipher } from './noise-ik.js';
import { openFrame, RELAY_FRAME, writeFrameHeader } from './relay.js';
import { decodeJson } from './text.js';

const KIND = { json: 0, fragment: 1, frame: 2 } as const;
/** Noise §3: no message is longer, tag included. */
const NOISE_MESSAGE = 65_535;
/** What is sealed with a message's body: its kind, and the tag. */
export const ENVELOPE = 1 + LENGTH.tag;
const BODY = NOISE_MESSAGE - ENVELOPE;

/**
 * Why a channel ended.
 * - `key`: the handshake is not for our key, or not by theirs. To a node: this is not the hub of the token.
 * - `version`: no protocol version that both speak.
 * - `refused`: the hub's words, for anything else.
 * - `garbled`: a message that was changed, repeated, left out or put in.
 * - `protocol`: a message that is authentic, and not what it should be.
 */
export type ChannelFailure = 'key' | 'version' | 'refused' | 'garbled' | 'protocol';

export type TransportEvent =
  /** Unchecked JSON: the caller parses it with `schemas.ts`. */
  | { readonly kind: 'message'; readonly value: unknown }
  /** Whom it is for (to the hub) or from (to a node). The datagram lies in the memory that was handled. */
  | { readonly kind: 'frame'; readonly peer: NodeId; readonly datagram: Uint8Array }
  /** Nothing comes after this; keys are erased. Whatever is to be sent before it should be, then close. */
  | { readonly kind: 'failed'; readonly why: ChannelFailure; readonly text: string };

/**
 * A channel after its handshake, both directions. A message is a kind u8 and a body, sealed: JSON, or a relay frame.
 *
 * Whoever gets a `failed` from `open` erases it: nothing else may follow.
 */
export class Transport {
  readonly #sending: Cipher;
  readonly #receiving: Cipher;
  /** The longest message, bytes. */
  limit: number;
  /** Fragments so far, copied: what they came in may be much larger than they are. */
  #assembly: Uint8Array = EMPTY;
  #assembled = 0;

  constructor(ciphers: { sending: Cipher; receiving: Cipher }, limit: number) {
    this.#sending = ciphers.sending;
    this.#receiving = ciphers.receiving;
    this.limit = limit;
  }

  open(bytes: Uint8Array): TransportEvent | undefined {
    const plaintext = bytes.length > NOISE_MESSAGE ? undefined : this.#receiving.open(bytes);
    if (plaintext === undefined) return failure('garbled', 'a message was changed, repeated or lost');
    const body = plaintext.subarray(1);
    switch (plaintext[0]) {
      case KIND.json:
        return this.#message(body);
      case KIND.fragment:
        return this.#keep(body) ? undefined : TOO_LONG;
      case KIND.frame: {
        const frame = openFrame(body);
        return frame === undefined ? failure('protocol', 'not a relay frame') : { kind: 'frame', ...frame };
      }
      default:
        return failure('protocol', `unknown message kind ${plaintext[0]}`);
    }
  }

  #message(last: Uint8Array): TransportEvent {
    let whole = last;
    if (this.#assembled > 0) {
      if (!this.#keep(last)) return TOO_LONG;
      whole = this.#assembly.subarray(0, this.#assembled);
      this.#assembly = EMPTY;
      this.#assembled = 0;
    } else if (last.length > this.limit) return TOO_LONG;
    const value = decodeJson(whole);
    return value === undefined ? failure('protocol', 'a message is not JSON') : { kind: 'message', value };
  }

  #keep(body: Uint8Array): boolean {
    const length = this.#assembled + body.length;
    if (length > this.limit || body.length === 0) return false;
    if (length > this.#assembly.length) {
      const larger = new Uint8Array(Math.min(this.limit, Math.max(length, 2 * this.#assembly.length)));
      larger.set(this.#assembly.subarray(0, this.#assembled));
      this.#assembly = larger;
    }
    this.#assembly.set(body, this.#assembled);
    this.#assembled = length;
    return true;
  }

  sealJson(json: Uint8Array): Uint8Array[] {
    const messages: Uint8Array[] = [];
    let at = 0;
    do {
      const end = Math.min(json.length, at + BODY);
      const out = new Uint8Array(1 + end - at + LENGTH.tag);
      out[0] = end === json.length ? KIND.json : KIND.fragment;
      out.set(json.subarray(at, end), 1);
      messages.push(this.#seal(out));
      at = end;
    } while (at < json.length);
    return messages;
  }

  sealFrame(peer: NodeId, datagram: Uint8Array): Uint8Array {
    const out = new Uint8Array(1 + RELAY_FRAME.payload + datagram.length + LENGTH.tag);
    if (out.length > NOISE_MESSAGE) throw new RangeError('a datagram is longer than UDP allows');
    out[0] = KIND.frame;
    writeFrameHeader(out, 1, peer);
    out.set(datagram, 1 + RELAY_FRAME.payload);
    return this.#seal(out);
  }

  #seal(out: Uint8Array): Uint8Array {
    if (!this.#sending.seal(out)) throw new Error('the channel has sent all that it may');
    return out;
  }

  erase(): void {
    this.#sending.erase();
    this.#receiving.erase();
    this.#assembly = EMPTY;
  }
}

export const failure = (why: ChannelFailure, text: string): Extract<TransportEvent, { kind: 'failed' }> => ({
  kind: 'failed',
  why,
  text,
});
const TOO_LONG = failure('protocol', 'a message is too long');
