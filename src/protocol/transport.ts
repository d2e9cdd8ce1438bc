import { EMPTY, LENGTH } from '../wireguard/crypto.js';
import type { NodeId } from './node-id.js';
import type { Cipher } from './noise-ik.js';
import { openFrame, RELAY_FRAME, writeFrameHeader } from './relay.js';
import { decodeJson } from './text.js';

const KIND = { json: 0, fragment: 1, frame: 2 } as const;
/** The longest Noise message, tag included: Noise §3. */
const NOISE_MESSAGE = 65_535;
/** The kind in front of a message's body, and the tag behind it. */
export const ENVELOPE = 1 + LENGTH.tag;
const BODY = NOISE_MESSAGE - ENVELOPE;

/**
 * Why a channel ended.
 * - `key`: the handshake does not fit our key, or theirs. For a node: this is not the hub of the token.
 * - `version`: there is no common protocol version.
 * - `refused`: anything else, in the hub's words.
 * - `garbled`: a message was changed, repeated, lost or inserted.
 * - `protocol`: a message is authentic but invalid.
 */
export type ChannelFailure = 'key' | 'version' | 'refused' | 'garbled' | 'protocol';

export type TransportEvent =
  /** Unchecked JSON: the caller parses it with `parse.ts`. */
  | { readonly kind: 'message'; readonly value: unknown }
  /** The receiver's id towards the hub, the sender's towards a node. The datagram is in the memory of the handled message. */
  | { readonly kind: 'frame'; readonly peer: NodeId; readonly datagram: Uint8Array }
  /** The last event; keys are erased. Send what is queued, then close. */
  | { readonly kind: 'failed'; readonly why: ChannelFailure; readonly text: string };

/**
 * A channel after its handshake, both directions. A message is a kind u8 and a body, sealed: JSON, or a relay frame.
 *
 * After `failed` from `open`, erase the channel: nothing may follow.
 */
export class Transport {
  readonly #sending: Cipher;
  readonly #receiving: Cipher;
  /** The longest message, bytes. */
  limit: number;
  /** The fragments so far, copied, because the memory they arrived in may be much larger. */
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
