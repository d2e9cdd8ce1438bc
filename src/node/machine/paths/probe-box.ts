import type { NodeId } from '../../../protocol/node-id.js';
import {
  openProbe,
  type Probe,
  probeKey,
  probeParties,
  RecentNonces,
  sealProbe,
} from '../../../protocol/probe.js';
import { TokenBucket } from '../../../token-bucket.js';
import type { Crypto, PrivateKey, PublicKey } from '../../../wireguard/crypto.js';

/** The rate limit for opening probes: each costs some 10 µs, and strangers may send fakes. */
const OPENED = { rate: 5_000, burst: 1_000 } as const;

interface Partner {
  readonly key: PublicKey;
  /** Computed when needed, because it costs a DH operation. `null`: the peer's key is invalid. */
  shared: Uint8Array | null | undefined;
  readonly nonces: RecentNonces;
}

/** Seals and opens probes with the keys that this node shares with its peers. */
export class ProbeBox {
  readonly #crypto: Crypto;
  readonly #own: PrivateKey;
  readonly #id: NodeId;
  readonly #partners = new Map<NodeId, Partner>();
  readonly #limit = new TokenBucket(OPENED);

  /** @param id of this node */
  constructor(crypto: Crypto, own: PrivateKey, id: NodeId) {
    this.#crypto = crypto;
    this.#own = own;
    this.#id = id;
  }

  addPeer(id: NodeId, key: PublicKey): void {
    this.removePeer(id);
    this.#partners.set(id, { key, shared: undefined, nonces: new RecentNonces() });
  }

  removePeer(id: NodeId): void {
    this.#partners.get(id)?.shared?.fill(0);
    this.#partners.delete(id);
  }

  /** @returns undefined if the peer is unknown or its key is invalid */
  seal(peer: NodeId, probe: Probe): Uint8Array | undefined {
    const partner = this.#partners.get(peer);
    const key = partner && this.#keyOf(partner);
    return key ? sealProbe(this.#crypto, key, this.#id, peer, probe) : undefined;
  }

  /** @returns the sender and the probe; undefined if the datagram is malformed, forged, replayed or beyond the rate limit */
  open(datagram: Uint8Array, now: number): { readonly peer: NodeId; readonly probe: Probe } | undefined {
    const parties = probeParties(datagram);
    if (parties?.receiver !== this.#id) return undefined;
    const partner = this.#partners.get(parties.sender);
    if (partner === undefined || !this.#limit.take(now)) return undefined;
    const key = this.#keyOf(partner);
    const probe = key ? openProbe(this.#crypto, key, datagram) : undefined;
    if (probe === undefined || !partner.nonces.add(datagram)) return undefined;
    return { peer: parties.sender, probe };
  }

  #keyOf(partner: Partner): Uint8Array | null {
    if (partner.shared === undefined) partner.shared = probeKey(this.#crypto, this.#own, partner.key) ?? null;
    return partner.shared;
  }
}
