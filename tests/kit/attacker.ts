import { setTimeout as sleep } from 'node:timers/promises';
import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { type IpAddress, parseAddress } from '../../src/ip/address.js';
import type { Endpoint } from '../../src/ip/endpoint.js';
import { call, libc } from '../../src/linux/ffi/libc.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { AF, readSocketAddress, writeSocketAddress } from '../../src/linux/net/socket-address.js';
import { setReceiveBuffer } from '../../src/linux/net/socket-options.js';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { SendBatch } from '../../src/packets/send-batch.js';
import { ENDPOINT, ReceiveBatch } from '../../src/packets/udp-batch.js';
import { CookieHolder } from '../../src/wireguard/cookie.js';
import {
  EMPTY,
  LENGTH,
  NO_PRESHARED_KEY,
  type PrivateKey,
  type PublicKey,
} from '../../src/wireguard/crypto.js';
import {
  INITIATION,
  MESSAGE_TYPE,
  messageType,
  RESPONSE,
  readCounter,
  TRANSPORT,
  viewOf,
  writeCounter,
} from '../../src/wireguard/messages.js';
import {
  type ClaimedInitiation,
  createInitiation,
  createResponse,
  openPayload,
  openResponse,
  openStatic,
  type Transcript,
} from '../../src/wireguard/noise.js';
import { TAI64N, TimestampSource } from '../../src/wireguard/tai64n.js';

/** Records every secret it derives: the peer derives the same ones. */
class RecordingCrypto extends NodeCrypto {
  /** Set to an empty array to start recording. */
  secrets: Uint8Array[] | undefined;

  override dh(privateKey: PrivateKey, publicKey: PublicKey, out: Uint8Array): boolean {
    const usable = super.dh(privateKey, publicKey, out);
    this.secrets?.push(Uint8Array.from(out));
    return usable;
  }

  override kdf(key: Uint8Array, input: Uint8Array, ...outs: [Uint8Array, Uint8Array?, Uint8Array?]): void {
    super.kdf(key, input, ...outs);
    for (const out of outs) if (out) this.secrets?.push(Uint8Array.from(out));
  }
}

export const crypto = new RecordingCrypto();

export const random = (length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  crypto.random(bytes);
  return bytes;
};

/** 32 random bytes, clamped as by `wg genkey`, RFC 7748 §5. */
export function randomKey(): Uint8Array {
  const key = random(LENGTH.key);
  key[0]! &= 248;
  key[31] = (key[31]! & 127) | 64;
  return key;
}

export const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** A WireGuard session with both keys known to the test. */
export class HandmadeSession {
  readonly sendingKey = new Uint8Array(LENGTH.key);
  readonly receivingKey = new Uint8Array(LENGTH.key);
  /** The receiver index in what this end receives, and in what it sends. */
  readonly localIndex: number;
  readonly remoteIndex: number;
  /** The counter of the next message. */
  counter = 0;

  constructor(transcript: Transcript, localIndex: number, remoteIndex: number, initiator: boolean) {
    transcript.split(this.sendingKey, this.receivingKey, initiator);
    this.localIndex = localIndex;
    this.remoteIndex = remoteIndex;
  }

  /** Seals a transport message, [W] 5.4.6. An empty packet makes a keepalive. */
  seal(packet: Uint8Array = EMPTY, counter: number | bigint = this.counter++): Uint8Array {
    const padded = new Uint8Array((packet.length + 15) & ~15);
    padded.set(packet);
    const message = new Uint8Array(TRANSPORT.overhead + padded.length);
    const view = viewOf(message);
    view.setUint32(0, MESSAGE_TYPE.transport, true);
    view.setUint32(TRANSPORT.receiver, this.remoteIndex, true);
    if (typeof counter === 'bigint') view.setBigUint64(TRANSPORT.counter, counter, true);
    else writeCounter(view, TRANSPORT.counter, counter);
    crypto.seal(this.sendingKey, Number(counter), padded, EMPTY, message.subarray(TRANSPORT.payload));
    return message;
  }

  /** Opens a transport message of this session. @returns its packet, or undefined for any other datagram */
  open(datagram: Uint8Array): Uint8Array | undefined {
    const view = viewOf(datagram);
    if (messageType(view, 0, datagram.length) !== MESSAGE_TYPE.transport) return undefined;
    if (view.getUint32(TRANSPORT.receiver, true) !== this.localIndex) return undefined;
    const sealed = datagram.subarray(TRANSPORT.payload);
    const plain = new Uint8Array(sealed.length - LENGTH.tag);
    const counter = readCounter(view, TRANSPORT.counter);
    return crypto.open(this.receivingKey, counter, sealed, EMPTY, plain) ? plain : undefined;
  }
}

export interface InitiationOptions {
  /** TAI64N. Default: the current time, later than all timestamps before. */
  readonly timestamp?: Uint8Array;
  readonly sender?: number;
  /** Replaces the random ephemeral public key. The handshake can then not be completed. */
  readonly ephemeral?: Uint8Array;
}

/** An initiation, and the state to read the response with. */
export interface Initiation {
  readonly message: Uint8Array;
  /** @returns the session, or undefined if `response` does not answer this initiation */
  complete(response: Uint8Array): HandmadeSession | undefined;
}

/** A peer built from the pure code of `wireguard/`. It sends what the test wants, valid or not. */
export class HandmadePeer {
  readonly privateKey: PrivateKey;
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  /** Adds the MACs to messages, and keeps the cookie. */
  readonly cookies: CookieHolder;
  readonly #device: PublicKey;
  readonly #staticStatic = new Uint8Array(LENGTH.key);
  #claimed: PublicKey;
  readonly #timestamps = new TimestampSource();

  /** @param device the public key of the device under attack */
  constructor(
    device: Uint8Array,
    privateKey: Uint8Array = randomKey(),
    presharedKey: Uint8Array = NO_PRESHARED_KEY as Uint8Array,
  ) {
    this.#device = crypto.publicKey(device);
    this.privateKey = crypto.privateKey(privateKey);
    this.publicKey = this.privateKey.publicKey.bytes;
    this.#claimed = this.privateKey.publicKey;
    this.presharedKey = presharedKey;
    this.cookies = new CookieHolder(crypto, device);
    crypto.dh(this.privateKey, this.#device, this.#staticStatic);
  }

  /** An attacker without the private key, who claims a public key whose shared secrets are all zeros. */
  static claiming(device: Uint8Array, publicKey: Uint8Array): HandmadePeer {
    const liar = new HandmadePeer(device);
    liar.#claimed = { kind: 'public', bytes: publicKey };
    liar.#staticStatic.fill(0);
    return liar;
  }

  /** A timestamp later than all earlier ones. */
  timestamp(): Uint8Array {
    return this.#timestamps.next(Date.now());
  }

  /** `-> e, es, s, ss, {t}` */
  initiation(options: InitiationOptions = {}): Initiation {
    const { timestamp = this.timestamp(), sender = viewOf(random(4)).getUint32(0) } = options;
    const message = new Uint8Array(INITIATION.length);
    const ephemeral = crypto.generate();
    const transcript = createInitiation(
      crypto,
      this.#claimed,
      ephemeral,
      this.#device,
      this.#staticStatic,
      timestamp,
      message.subarray(INITIATION.ephemeral, INITIATION.mac1),
    )!;
    if (options.ephemeral) message.set(options.ephemeral, INITIATION.ephemeral);
    const view = viewOf(message);
    view.setUint32(0, MESSAGE_TYPE.initiation, true);
    view.setUint32(INITIATION.sender, sender, true);
    this.cookies.seal(message, performance.now());
    const complete = (response: Uint8Array): HandmadeSession | undefined => {
      const { length } = response;
      if (messageType(viewOf(response), 0, length) !== MESSAGE_TYPE.response) return undefined;
      if (viewOf(response).getUint32(RESPONSE.receiver, true) !== sender) return undefined;
      const t = transcript.copy();
      const noise = response.subarray(RESPONSE.ephemeral, RESPONSE.mac1);
      if (!openResponse(crypto, t, this.privateKey, ephemeral, this.presharedKey, noise, EMPTY))
        return undefined;
      return new HandmadeSession(t, sender, viewOf(response).getUint32(RESPONSE.sender, true), true);
    };
    return { message, complete };
  }

  /** Answers an initiation from the device: `<- e, ee, se, psk, {}`. */
  respond(initiation: Uint8Array): { readonly message: Uint8Array; readonly session: HandmadeSession } {
    const claimed = this.claim(initiation);
    const message = new Uint8Array(RESPONSE.length);
    const sender = viewOf(random(4)).getUint32(0);
    const receiver = viewOf(initiation).getUint32(INITIATION.sender, true);
    const view = viewOf(message);
    view.setUint32(0, MESSAGE_TYPE.response, true);
    view.setUint32(RESPONSE.sender, sender, true);
    view.setUint32(RESPONSE.receiver, receiver, true);
    const noise = message.subarray(RESPONSE.ephemeral, RESPONSE.mac1);
    createResponse(claimed, crypto.generate(), this.#device, this.presharedKey, EMPTY, noise);
    this.cookies.seal(message, performance.now());
    return { message, session: new HandmadeSession(claimed.transcript, sender, receiver, false) };
  }

  /** Opens an initiation from the device. */
  claim(initiation: Uint8Array): ClaimedInitiation {
    const noise = initiation.subarray(INITIATION.ephemeral, INITIATION.mac1);
    const claimed = openStatic(crypto, this.privateKey, noise);
    if (!claimed || !openPayload(claimed, this.#staticStatic, noise, new Uint8Array(TAI64N.length)))
      throw new Error('this is not an initiation for this peer');
    return claimed;
  }
}

const BATCH = 64;
/** Longer than any message here, bytes. */
const LARGEST = 2048;

/** A UDP socket that sends datagrams in batches to one endpoint, and collects the replies. */
export class AttackerSocket {
  readonly #fd: number;
  readonly #memory = allocate(BATCH * LARGEST + ENDPOINT.size);
  readonly #batch = new SendBatch(BATCH);
  readonly #received = new ReceiveBatch(16);

  /**
   * @param host the host it sends from
   * @param fromPort 0 for any port
   */
  constructor(host: Namespace, from: string, to: string, toPort: number, fromPort = 0) {
    this.#fd = host.inside(() => call(libc.socket(AF.inet, SOCK_DGRAM | SOCK_NONBLOCK, 0), 'socket'));
    const { view, address } = this.#memory;
    const length = writeSocketAddress(view, 0, AF.inet, { address: ip(from), port: fromPort });
    call(libc.bind(this.#fd, address, length), `bind ${from}`);
    setReceiveBuffer(this.#fd, 8 << 20);
    this.aim(to, toPort);
  }

  /** Sends to another endpoint from now on. */
  aim(to: string, port: number): void {
    const { view } = this.#memory;
    const at = BATCH * LARGEST;
    const length = writeSocketAddress(view, at + ENDPOINT.name, AF.inet, { address: ip(to), port });
    view.setUint32(at + ENDPOINT.nameLength, length, true);
  }

  get port(): number {
    const memory = allocate(40);
    memory.view.setUint32(32, 32, true);
    call(libc.getsockname(this.#fd, memory.address, memory.address + 32), 'getsockname');
    return readSocketAddress(memory.view, 0).port;
  }

  send(...datagrams: readonly Uint8Array[]): void {
    const { bytes, address } = this.#memory;
    for (let at = 0; at < datagrams.length; at += BATCH) {
      const some = datagrams.slice(at, at + BATCH);
      for (const [i, datagram] of some.entries()) {
        bytes.set(datagram, i * LARGEST);
        this.#batch.addTo(address + i * LARGEST, datagram.length, this.#memory, BATCH * LARGEST);
      }
      while (this.#batch.pending > 0) if (this.#batch.flush(this.#fd) !== 0) this.#batch.skip();
    }
  }

  /** The datagrams received since the last call. */
  take(): { readonly bytes: Uint8Array; readonly from: Endpoint }[] {
    const all: { bytes: Uint8Array; from: Endpoint }[] = [];
    const batch = this.#received;
    for (let count = batch.receive(this.#fd); count > 0; count = batch.receive(this.#fd)) {
      for (let i = 0; i < count; i++) {
        const at = batch.offset(i);
        const view = new DataView(batch.senderBytes.buffer);
        const from = readSocketAddress(view, batch.senderOffset(i));
        all.push({ bytes: batch.memory.bytes.slice(at, at + batch.length(i)), from });
      }
    }
    return all;
  }

  /** Waits for a datagram that `pick` returns a value for; ignores others. Undefined if none arrives in time. */
  async wait<T>(
    pick: (datagram: Uint8Array) => T | undefined,
    milliseconds = 20_000,
  ): Promise<T | undefined> {
    const deadline = performance.now() + milliseconds;
    for (;;) {
      for (const { bytes } of this.take()) {
        const picked = pick(bytes);
        if (picked !== undefined) return picked;
      }
      if (performance.now() > deadline) return undefined;
      await sleep(2);
    }
  }

  close(): void {
    libc.close(this.#fd);
  }
}

const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0x800;

function ip(text: string): IpAddress {
  const address = parseAddress(text);
  if (!address) throw new TypeError(`invalid address "${text}"`);
  return address;
}

/** Returns datagrams of one message type, by their first byte. */
export const isType =
  (type: number) =>
  (datagram: Uint8Array): Uint8Array | undefined =>
    datagram[0] === type ? datagram : undefined;

/** An ICMP echo request over IPv4, RFC 792. */
export function echoRequest(from: string, to: string, sequence = 1, payload = 24): Uint8Array {
  const packet = new Uint8Array(28 + payload).fill(0x61, 28);
  packet.set([0x45, 0, packet.length >> 8, packet.length & 0xff, 0, 0, 0, 0, 64, 1]);
  packet.set(ip(from), 12);
  packet.set(ip(to), 16);
  packet.set([8, 0, 0, 0, 0x12, 0x34, sequence >> 8, sequence & 0xff], 20);
  writeChecksum(packet, 10, 0, 20);
  writeChecksum(packet, 22, 20, packet.length);
  return packet;
}

/** The sequence number of an echo reply; undefined for any other packet. */
export function echoReplySequence(packet: Uint8Array): number | undefined {
  return packet[0] === 0x45 && packet[9] === 1 && packet[20] === 0 ? viewOf(packet).getUint16(26) : undefined;
}

/** Writes the checksum of an even number of bytes, RFC 1071. */
function writeChecksum(packet: Uint8Array, at: number, begin: number, end: number): void {
  const view = viewOf(packet);
  let sum = 0;
  for (let i = begin; i < end; i += 2) sum += view.getUint16(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(at, ~sum & 0xffff);
}
