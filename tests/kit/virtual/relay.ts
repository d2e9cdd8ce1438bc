import type { RelayPort } from '../../../src/hub/machine/hub.js';
import { toIpv6 } from '../../../src/ip/address.js';
import type { Endpoint } from '../../../src/ip/endpoint.js';
import {
  decodeControl,
  encodeControl,
  MAGIC,
  openFrame,
  RELAY_CONTROL,
  RELAY_KIND,
  writeFrameHeader,
} from '../../../src/protocol/relay.js';
import { encodeBase64, encodeText } from '../../../src/protocol/text.js';
import type { Crypto } from '../../../src/wireguard/crypto.js';
import { endpointNumber } from '../nat-model.js';
import type { SeededRandom } from '../random.js';
import { show } from './internet.js';

interface Member {
  /** The member's id u32, then four random bytes. */
  readonly session: Uint8Array;
  readonly key: Uint8Array;
  sequence: number;
  /** Undefined: it has bound none, and frames for it go through its channel. */
  endpoint: Endpoint | undefined;
}

export interface RelayOptions {
  readonly crypto: Crypto;
  readonly random: SeededRandom;
  readonly port: number;
  readonly send: (bytes: Uint8Array, to: Endpoint) => void;
  /** Through the channel of a member. */
  readonly deliver: (to: number, from: number, datagram: Uint8Array) => void;
}

/** The relay's protocol without its thread, its speed and its fairness: what a node's machine sees of a relay. */
export class VirtualRelay implements RelayPort {
  readonly #options: RelayOptions;
  readonly #members = new Map<number, Member>();
  readonly #byEndpoint = new Map<number, number>();

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  attach(node: number): { port: number; session: string; key: string } {
    this.detach(node);
    const { random, port } = this.#options;
    const [session, key] = [new Uint8Array(8), new Uint8Array(32)];
    random.fill(session);
    random.fill(key);
    new DataView(session.buffer).setUint32(0, node);
    this.#members.set(node, { session, key, sequence: 0, endpoint: undefined });
    return { port, session: encodeBase64(session), key: encodeBase64(key) };
  }

  detach(node: number): void {
    const endpoint = this.#members.get(node)?.endpoint;
    if (endpoint !== undefined) this.#byEndpoint.delete(endpointNumber(endpoint));
    this.#members.delete(node);
  }

  fromChannel(from: number, to: number, datagram: Uint8Array): void {
    const receiver = this.#members.get(to);
    if (receiver === undefined || !this.#members.has(from)) return;
    if (receiver.endpoint === undefined) {
      this.#options.deliver(to, from, datagram);
      return;
    }
    const frame = new Uint8Array(8 + datagram.length);
    writeFrameHeader(frame, 0, from);
    frame.set(datagram, 8);
    this.#options.send(frame, receiver.endpoint);
  }

  /** A datagram came to the relay's port. */
  receive(bytes: Uint8Array, from: Endpoint): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (view.getInt32(0, true) === MAGIC.control) {
      this.#bind(view.getUint32(RELAY_CONTROL.session), bytes, from);
      return;
    }
    const frame = openFrame(bytes);
    const sender = this.#byEndpoint.get(endpointNumber(from));
    if (frame !== undefined && sender !== undefined) this.fromChannel(sender, frame.peer, frame.datagram);
  }

  /** An endpoint that is new to the session is challenged first, as `hub/relay/binds.ts` does. */
  #bind(node: number, bytes: Uint8Array, from: Endpoint): void {
    const { crypto, send } = this.#options;
    const member = this.#members.get(node);
    const bind = member && decodeControl(crypto, member.key, bytes);
    if (member === undefined || bind?.kind !== RELAY_KIND.bind || bind.sequence <= member.sequence) return;
    if (!crypto.equal(bind.session, member.session)) return;
    member.sequence = bind.sequence;
    const mac = new Uint8Array(16);
    crypto.mac(member.key, encodeText(show(from)), mac);
    const cookie = mac.slice(0, RELAY_CONTROL.padding - RELAY_CONTROL.cookie);
    const isKnown = this.#byEndpoint.get(endpointNumber(from)) === node;
    const isBound = isKnown || crypto.equal(cookie, bind.cookie);
    if (isBound && !isKnown) {
      if (member.endpoint !== undefined) this.#byEndpoint.delete(endpointNumber(member.endpoint));
      member.endpoint = from;
      this.#byEndpoint.set(endpointNumber(from), node);
    }
    const { session, sequence, length } = bind;
    const kind = isBound ? RELAY_KIND.bound : RELAY_KIND.challenge;
    const seen = { address: toIpv6(from.address), port: from.port };
    send(encodeControl(crypto, member.key, { kind, session, sequence, length, cookie, ...seen }), from);
  }
}
