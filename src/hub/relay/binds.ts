import { toIpv6 } from '../../ip/address.js';
import { readSocketAddress, SOCKADDR_IN6 } from '../../linux/net/socket-address.js';
import { ENDPOINT } from '../../packets/udp-batch.js';
import {
  decodeControl,
  encodeControl,
  isControlLength,
  RELAY_CONTROL,
  RELAY_KIND,
} from '../../protocol/relay.js';
import type { Crypto } from '../../wireguard/crypto.js';
import { AT, type Counters } from './counters.js';
import type { RelayMembers } from './members.js';

/** A session: the member's row u32, then its tag i32, which is random. */
export const SESSION = { row: 0, tag: 4, length: 8 } as const;

/** Handles control messages of members. The sender's `ENDPOINT` record is in `members.sought`. */
export class Binds {
  readonly #crypto: Pick<Crypto, 'mac' | 'equal'>;
  readonly #members: RelayMembers;
  readonly #counters: Counters;
  /** The key of cookies. */
  readonly #secret: Uint8Array;

  /** @param secret 32 random bytes */
  constructor(
    crypto: Pick<Crypto, 'mac' | 'equal'>,
    members: RelayMembers,
    counters: Counters,
    secret: Uint8Array,
  ) {
    this.#crypto = crypto;
    this.#members = members;
    this.#counters = counters;
    this.#secret = secret;
  }

  /** The row of the session that a control message names, without cryptography; -1 for none, or an invalid message. */
  rowOf(view: DataView, at: number, length: number): number {
    if (!isControlLength(length)) return -1;
    const row = view.getUint32(at + RELAY_CONTROL.session + SESSION.row, true);
    const { ids, tags } = this.#members;
    if (row >= ids.length || ids[row] === 0) return -1;
    return tags[row] === view.getInt32(at + RELAY_CONTROL.session + SESSION.tag, true) ? row : -1;
  }

  /** @param bytes a control message of the row's session @returns the answer to the sender; undefined for none */
  handle(row: number, bytes: Uint8Array, now: number): Uint8Array | undefined {
    const members = this.#members;
    const key = members.key(row);
    const bind = decodeControl(this.#crypto, key, bytes);
    if (bind?.kind !== RELAY_KIND.bind) return this.#drop('bad-bind');
    const { session, sequence, length } = bind;
    if (!(sequence > members.sequences[row]!)) return this.#drop('replayed-bind');
    members.sequences[row] = sequence;
    const cookie = this.#cookie(session);
    const answer = { session, sequence, length, cookie, ...this.#soughtAddress() };
    if (!members.isBoundToSought(row) && !this.#crypto.equal(cookie, bind.cookie)) {
      this.#counters.add(AT.challenges);
      return encodeControl(this.#crypto, key, { kind: RELAY_KIND.challenge, ...answer });
    }
    members.bind(row, now);
    this.#counters.add(AT.binds);
    return encodeControl(this.#crypto, key, { kind: RELAY_KIND.bound, ...answer });
  }

  #drop(reason: 'bad-bind' | 'replayed-bind'): undefined {
    this.#counters.add(AT[reason]);
  }

  /** The cookie: only someone who receives at the sender's endpoint can know it. */
  #cookie(session: Uint8Array): Uint8Array {
    const { endpoints, sought } = this.#members;
    const input = new Uint8Array(SESSION.length + SOCKADDR_IN6.size);
    input.set(session);
    input.set(endpoints.bytes.subarray(sought, sought + SOCKADDR_IN6.size), SESSION.length);
    const mac = new Uint8Array(16);
    this.#crypto.mac(this.#secret, input, mac);
    return mac.slice(0, RELAY_CONTROL.padding - RELAY_CONTROL.cookie);
  }

  #soughtAddress(): { readonly address: Uint8Array; readonly port: number } {
    const { endpoints, sought } = this.#members;
    const { address, port } = readSocketAddress(endpoints.view, sought + ENDPOINT.name);
    return { address: toIpv6(address), port };
  }
}
