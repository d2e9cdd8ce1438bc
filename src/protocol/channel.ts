import { ascii, type Crypto, type PrivateKey, type PublicKey } from '../wireguard/crypto.js';
import type { Transcript } from '../wireguard/noise.js';
import type { Hello, Welcome } from './messages.js';
import type { NodeId } from './node-id.js';
import { OVERHEAD, readFirst, readSecond, split, writeFirst, writeSecond } from './noise-ik.js';
import { parseHello, parseWelcome } from './parse.js';
import { decodeJson, encodeJson } from './text.js';
import { type ChannelFailure, failure, Transport, type TransportEvent } from './transport.js';
import { sharedVersion, versionsDiffer } from './versions.js';

/**
 * A node's connection to the hub: Noise_IK_25519_ChaChaPoly_BLAKE2s over messages that arrive whole and in order (a
 * WebSocket's). No I/O. Give each message to `handle`, which overwrites it and returns events to process in order. Nothing
 * else changes a channel. It has no timers: the caller limits how long the handshake may take.
 *
 * After the handshake, messages are JSON or relay frames (`transport.ts`). An invalid message ends the channel, because
 * nothing between the two sides changes messages by accident.
 */
const PROLOGUE = ascii('lametun channel v1');
export const CHANNEL_PATH = '/lametun';

/** The longest `Hello` or `Welcome`, bytes. */
const HANDSHAKE_PAYLOAD = 1024;
/** The longest first message of a channel, bytes. */
export const FIRST_MESSAGE = OVERHEAD.first + HANDSHAKE_PAYLOAD;
/** The longest JSON message, bytes: from a guest, from a member, and from the hub. */
export const MESSAGE_LIMIT = { fromGuest: 4 * 1024, fromNode: 16 * 1024, fromHub: 16 * 1024 * 1024 } as const;

/** The close code of the WebSocket after a failure. Only a hint for the other side, because it is not authenticated. */
export const CLOSE_CODE: Readonly<Record<ChannelFailure, number>> = {
  key: 4001,
  version: 4002,
  refused: 4003,
  garbled: 4004,
  protocol: 4005,
};

/** The `Welcome` of a hub that accepts the connection. */
export type Agreement = Exclude<Welcome, { readonly refused: string }>;

export type InitiatorEvent = { readonly kind: 'open'; readonly welcome: Agreement } | TransportEvent;

export type ResponderEvent =
  | { readonly kind: 'send'; readonly bytes: Uint8Array }
  /** The node's first transport message proved that it is there and has the private key of `remoteKey`. */
  | { readonly kind: 'open'; readonly remoteKey: Uint8Array; readonly hello: Hello }
  | TransportEvent;

/** What both sides have in common. */
abstract class Channel {
  protected transport: Transport | undefined;
  #ended = false;

  get ended(): boolean {
    return this.#ended;
  }

  /** Seals a message as Noise messages. Send them in this order, with nothing of this channel in between. */
  seal(message: object): Uint8Array[] {
    return this.sealJson(encodeJson(message));
  }

  /** The same for a message to many: call `encodeJson` once, and seal for each. */
  sealJson(json: Uint8Array): Uint8Array[] {
    return this.#opened().sealJson(json);
  }

  sealFrame(peer: NodeId, datagram: Uint8Array): Uint8Array {
    return this.#opened().sealFrame(peer, datagram);
  }

  /** Erases the keys. From then on `handle` does nothing, and everything else throws. */
  close(): void {
    this.#ended = true;
    this.transport?.erase();
    this.transport = undefined;
    this.forget();
  }

  /** Erases what only the handshake needed. */
  protected abstract forget(): void;

  protected fail(why: ChannelFailure, text: string): Extract<TransportEvent, { kind: 'failed' }> {
    this.close();
    return failure(why, text);
  }

  protected receive(bytes: Uint8Array): TransportEvent | undefined {
    const event = this.transport!.open(bytes);
    if (event?.kind === 'failed') this.close();
    return event;
  }

  #opened(): Transport {
    if (this.transport === undefined) throw new Error('the channel is not open');
    return this.transport;
  }
}

/** The node's side. */
export class ChannelInitiator extends Channel {
  readonly #crypto: Crypto;
  readonly #privateKey: PrivateKey;
  readonly #hubKey: PublicKey;
  readonly #hello: Hello;
  #ephemeral: PrivateKey | undefined;
  #transcript: Transcript | undefined;

  /** @param privateKey stays the caller's */
  constructor(crypto: Crypto, privateKey: PrivateKey, hubKey: PublicKey, hello: Hello) {
    super();
    this.#crypto = crypto;
    this.#privateKey = privateKey;
    this.#hubKey = hubKey;
    this.#hello = hello;
  }

  /** The first message. Call once, and send it as soon as there is a connection. */
  first(): Uint8Array {
    const ephemeral = this.#crypto.generate();
    const written = writeFirst(
      this.#crypto,
      PROLOGUE,
      this.#privateKey,
      ephemeral,
      this.#hubKey,
      encodeJson(this.#hello),
    );
    if (written === undefined) {
      ephemeral.destroy();
      throw new Error("the hub's key is no X25519 key");
    }
    this.#ephemeral = ephemeral;
    this.#transcript = written.transcript;
    return written.message;
  }

  /** @param bytes one whole message; they are overwritten, and events may refer to them */
  handle(bytes: Uint8Array): InitiatorEvent[] {
    if (this.ended) return [];
    if (this.transport === undefined) return [this.#second(bytes)];
    const event = this.receive(bytes);
    return event === undefined ? [] : [event];
  }

  #second(bytes: Uint8Array): InitiatorEvent {
    const [transcript, ephemeral] = [this.#transcript, this.#ephemeral];
    if (transcript === undefined || ephemeral === undefined) throw new Error('first() comes first');
    if (bytes.length > OVERHEAD.second + HANDSHAKE_PAYLOAD) return this.fail('key', NOT_THE_HUB);
    const payload = readSecond(this.#crypto, transcript, this.#privateKey, ephemeral, bytes);
    if (payload === undefined) return this.fail('key', NOT_THE_HUB);
    const welcome = parseWelcome(decodeJson(payload));
    if (welcome === undefined) return this.fail('protocol', "the hub's welcome is not what it should be");
    if ('refused' in welcome) {
      const shared = sharedVersion(this.#hello.protocol, welcome.protocol);
      if (shared === undefined) return this.fail('version', versionsDiffer(this.#hello, welcome));
      return this.fail('refused', welcome.refused);
    }
    if (!this.#hello.protocol.includes(welcome.protocol))
      return this.fail('version', versionsDiffer(this.#hello, { ...welcome, protocol: [welcome.protocol] }));
    this.transport = new Transport(split(transcript, this.#crypto, true), MESSAGE_LIMIT.fromHub);
    this.forget();
    return { kind: 'open', welcome };
  }

  protected forget(): void {
    this.#transcript?.erase();
    this.#ephemeral?.destroy();
    this.#transcript = undefined;
    this.#ephemeral = undefined;
  }
}

const NOT_THE_HUB = 'the hub at this address does not have the key in the token: it is another hub';

/** The hub's side. */
export class ChannelResponder extends Channel {
  readonly #crypto: Crypto;
  readonly #privateKey: PrivateKey;
  readonly #answer: (remoteKey: Uint8Array, hello: Hello) => Welcome;
  /** Until the first transport message, the other side may be a replay. */
  #claimed: { readonly remoteKey: Uint8Array; readonly hello: Hello } | undefined;

  /**
   * @param privateKey stays the caller's
   * @param answer `welcome` of `versions.ts`, or something stricter. It must not change anything, because the first message
   *   may be a replay
   */
  constructor(
    crypto: Crypto,
    privateKey: PrivateKey,
    answer: (remoteKey: Uint8Array, hello: Hello) => Welcome,
  ) {
    super();
    this.#crypto = crypto;
    this.#privateKey = privateKey;
    this.#answer = answer;
  }

  /** @param bytes one whole message; they are overwritten, and events may refer to them */
  handle(bytes: Uint8Array): ResponderEvent[] {
    if (this.ended) return [];
    if (this.transport === undefined) return this.#first(bytes);
    const event = this.receive(bytes);
    if (this.#claimed === undefined || event?.kind === 'failed') return event === undefined ? [] : [event];
    const open = { kind: 'open', ...this.#claimed } as const;
    this.#claimed = undefined;
    return event === undefined ? [open] : [open, event];
  }

  /** The node is a member: it may send longer messages. */
  admit(): void {
    if (this.transport !== undefined) this.transport.limit = MESSAGE_LIMIT.fromNode;
  }

  #first(bytes: Uint8Array): ResponderEvent[] {
    if (bytes.length > FIRST_MESSAGE) return [this.fail('key', NOT_FOR_US)];
    const first = readFirst(this.#crypto, PROLOGUE, this.#privateKey, bytes);
    if (first === undefined) return [this.fail('key', NOT_FOR_US)];
    const hello = parseHello(decodeJson(first.payload));
    if (hello === undefined) {
      first.transcript.erase();
      return [this.fail('protocol', "the node's hello is not what it should be")];
    }
    const welcome = this.#answer(first.initiator.bytes, hello);
    const ephemeral = this.#crypto.generate();
    const second = writeSecond(first, ephemeral, encodeJson(welcome));
    ephemeral.destroy();
    if (second === undefined) return [this.fail('key', NOT_FOR_US)];
    const send = { kind: 'send', bytes: second } as const;
    if ('refused' in welcome) {
      first.transcript.erase();
      const shared = sharedVersion(hello.protocol, welcome.protocol);
      return [send, this.fail(shared === undefined ? 'version' : 'refused', welcome.refused)];
    }
    this.transport = new Transport(split(first.transcript, this.#crypto, false), MESSAGE_LIMIT.fromGuest);
    this.#claimed = { remoteKey: first.initiator.bytes, hello };
    return [send];
  }

  protected forget(): void {
    this.#claimed = undefined;
  }
}

const NOT_FOR_US = "the first message is not encrypted for this hub's key";
