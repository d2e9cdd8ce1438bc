import { isIpv4Mapped, toIpv6 } from '../ip/address.js';
import type { Endpoint } from '../ip/endpoint.js';
import {
  ascii,
  type Crypto,
  EMPTY,
  LENGTH,
  mapKey,
  type PrivateKey,
  type PublicKey,
  secretBytes,
} from '../wireguard/crypto.js';
import { viewOf } from '../wireguard/messages.js';
import type { NodeId } from './node-id.js';
import { MAGIC } from './relay.js';

/**
 * Probes go from node to node in the side channel, directly or through the relay. They find out where the other node can be
 * reached. The key comes from DH(static, static), so the hub, which may relay probes, can neither read nor make one.
 *
 * Magic, the sender's and the receiver's id u32, a nonce 24; sealed by XChaCha20-Poly1305 with all before the nonce as
 * associated data: type u8, transaction 8, body. Little-endian.
 * - ping: any number of zeros, to find out which length passes;
 * - pong, with the ping's transaction: the address 16 (IPv4 in its mapped form) and port u16 that the ping came from,
 *   zeros when that was the relay;
 * - call: up to eight such addresses, the sender's candidates: please ping me there;
 * - opened: the transaction 8 of the call or `opened` that it answers, and such addresses. The sender has sent something to
 *   each address named in that call, so its NAT lets in what comes from them.
 *
 * Anyone who saw a probe can replay it. A ping causes one answer no longer than itself, a call a few pings. So the receiver
 * limits their number, and `RecentNonces` recognises the last ones.
 */
export const PROBE = {
  sender: 4,
  receiver: 8,
  nonce: 12,
  sealed: 36,
  /** Everything but the body. */
  overhead: 36 + 9 + 16,
  /** The longest probe through a relay. */
  maxLength: 256,
  /** The longest probe that fits Ethernet with the headers of UDP and IPv4. */
  maxDirect: 1472,
} as const;
const INNER = { type: 0, transaction: 1, body: 9 } as const;
const TYPE = { ping: 1, pong: 2, call: 3, opened: 4 } as const;
const ADDRESS = { port: 16, length: 18 } as const;
const TRANSACTION = 8;
export const MAX_CALLED = 8;

export type Probe =
  /** `length`: of the whole datagram; default: the shortest possible. */
  | { readonly type: 'ping'; readonly transaction: Uint8Array; readonly length?: number | undefined }
  /** `from`: where the ping came from; undefined for the relay. */
  | { readonly type: 'pong'; readonly transaction: Uint8Array; readonly from?: Endpoint | undefined }
  | {
      readonly type: 'call';
      readonly transaction: Uint8Array;
      readonly addresses: readonly Endpoint[];
    }
  | {
      readonly type: 'opened';
      readonly transaction: Uint8Array;
      /** The transaction of the probe that it answers, 8 bytes. */
      readonly answers: Uint8Array;
      readonly addresses: readonly Endpoint[];
    };

const LABEL = ascii('lametun probe v1');

/** The key that two nodes share. Erase it after use. @returns undefined when the other's key is of low order */
export function probeKey(crypto: Crypto, own: PrivateKey, theirs: PublicKey): Uint8Array | undefined {
  const [secret, key, salt] = [secretBytes(), secretBytes(), new Uint8Array(LENGTH.hash)];
  const isUsable = crypto.dh(own, theirs, secret);
  crypto.hash(LABEL, EMPTY, salt);
  if (isUsable) crypto.kdf(salt, secret, key);
  secret.fill(0);
  return isUsable ? key : undefined;
}

/**
 * The claimed sender and receiver, to find the key.
 * @returns undefined when the datagram cannot be a probe
 */
export function probeParties(datagram: Uint8Array): { sender: NodeId; receiver: NodeId } | undefined {
  if (datagram.length < PROBE.overhead || datagram.length > PROBE.maxDirect) return undefined;
  const view = viewOf(datagram);
  if (view.getInt32(0, true) !== MAGIC.probe) return undefined;
  return {
    sender: view.getUint32(PROBE.sender, true),
    receiver: view.getUint32(PROBE.receiver, true),
  };
}

/** @param key from `probeKey` */
export function sealProbe(
  crypto: Crypto,
  key: Uint8Array,
  sender: NodeId,
  receiver: NodeId,
  probe: Probe,
): Uint8Array {
  const body = bodyOf(probe);
  const inner = new Uint8Array(INNER.body + body.length);
  inner[INNER.type] = TYPE[probe.type];
  inner.set(probe.transaction.subarray(0, TRANSACTION), INNER.transaction);
  inner.set(body, INNER.body);
  const out = new Uint8Array(PROBE.overhead + body.length);
  const view = viewOf(out);
  view.setInt32(0, MAGIC.probe, true);
  view.setUint32(PROBE.sender, sender, true);
  view.setUint32(PROBE.receiver, receiver, true);
  const nonce = out.subarray(PROBE.nonce, PROBE.sealed);
  crypto.random(nonce);
  crypto.xseal(key, nonce, inner, out.subarray(0, PROBE.nonce), out.subarray(PROBE.sealed));
  return out;
}

/** @returns undefined when it was not made with this key, sender and receiver, or is malformed */
export function openProbe(crypto: Crypto, key: Uint8Array, datagram: Uint8Array): Probe | undefined {
  if (probeParties(datagram) === undefined) return undefined;
  const inner = new Uint8Array(datagram.length - PROBE.sealed - LENGTH.tag);
  const nonce = datagram.subarray(PROBE.nonce, PROBE.sealed);
  const head = datagram.subarray(0, PROBE.nonce);
  if (!crypto.xopen(key, nonce, datagram.subarray(PROBE.sealed), head, inner)) return undefined;
  const transaction = inner.slice(INNER.transaction, INNER.body);
  const body = inner.subarray(INNER.body);
  switch (inner[INNER.type]) {
    case TYPE.ping:
      return { type: 'ping', transaction, length: datagram.length };
    case TYPE.pong:
      if (body.length !== ADDRESS.length) return undefined;
      return { type: 'pong', transaction, from: readAddress(body) };
    case TYPE.call: {
      const addresses = readAddresses(body);
      return addresses && { type: 'call', transaction, addresses };
    }
    case TYPE.opened: {
      const answers = body.slice(0, TRANSACTION);
      const addresses =
        answers.length === TRANSACTION ? readAddresses(body.subarray(TRANSACTION)) : undefined;
      return addresses && { type: 'opened', transaction, answers, addresses };
    }
    default:
      return undefined;
  }
}

function bodyOf(probe: Probe): Uint8Array {
  if (probe.type === 'ping') {
    const length = probe.length ?? PROBE.overhead;
    return new Uint8Array(Math.min(Math.max(length, PROBE.overhead), PROBE.maxDirect) - PROBE.overhead);
  }
  const addresses = probe.type === 'pong' ? [probe.from] : probe.addresses.slice(0, MAX_CALLED);
  const begin = probe.type === 'opened' ? TRANSACTION : 0;
  const body = new Uint8Array(begin + addresses.length * ADDRESS.length);
  if (probe.type === 'opened') body.set(probe.answers.subarray(0, TRANSACTION));
  const view = viewOf(body);
  for (const [i, entry] of addresses.entries()) {
    if (entry === undefined) continue;
    const at = begin + i * ADDRESS.length;
    body.set(toIpv6(entry.address), at);
    view.setUint16(at + ADDRESS.port, entry.port, true);
  }
  return body;
}

/** @returns undefined when there are too many, or an incomplete one */
function readAddresses(body: Uint8Array): Endpoint[] | undefined {
  const count = body.length / ADDRESS.length;
  if (!Number.isInteger(count) || count > MAX_CALLED) return undefined;
  const addresses = Array.from({ length: count }, (_, i) => readAddress(body.subarray(i * ADDRESS.length)));
  return addresses.filter((address) => address !== undefined);
}

/** @returns undefined for zeros: no address or no port */
function readAddress(body: Uint8Array): Endpoint | undefined {
  const port = body[ADDRESS.port]! | (body[ADDRESS.port + 1]! << 8);
  const bytes = body.slice(0, ADDRESS.port);
  if (port === 0 || bytes.every((byte) => byte === 0)) return undefined;
  return { address: isIpv4Mapped(bytes) ? bytes.slice(12) : bytes, port };
}

/** The last nonces of one peer's probes, to recognise replays. */
export class RecentNonces {
  readonly #recent = new Set<string>();
  readonly #limit: number;

  constructor(limit = 64) {
    this.#limit = limit;
  }

  /** Whether an authentic probe is new. */
  add(datagram: Uint8Array): boolean {
    const nonce = mapKey(datagram.subarray(PROBE.nonce, PROBE.sealed));
    if (this.#recent.has(nonce)) return false;
    if (this.#recent.size >= this.#limit) this.#recent.delete(this.#recent.values().next().value!);
    this.#recent.add(nonce);
    return true;
  }
}
