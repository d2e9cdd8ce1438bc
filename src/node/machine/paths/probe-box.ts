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

/** Probes that are opened: each costs some 10 µs, and strangers may send what looks like one. */
const OPENED = { rate: 5_000, burst: 1_000 } as const;

interface Partner {
  readonly key: PublicKey;
  /** Made when it is needed: it costs a DH. `null`: there is none. */
  shared: Uint8Array | null | undefined;
  readonly nonces: RecentNonces;
}

/** Why a probe was dropped. Counted, never thrown. */
export type ProbeDrop = 'malformed' | 'unknown-peer' | 'forged' | 'replayed' | 'rate-limited';

/** Seals and opens probes with the keys that this node shares with its peers. */
export class ProbeBox {
  readonly drops = new Map<ProbeDrop, number>();
  readonly #crypto: Crypto;
  readonly #own: PrivateKey;
  readonly #id: NodeId;
  readonly #partners = new Map<NodeId, Partner>();
  readonly #limit = new TokenBucket(OPENED);

  /** @param id this node's */
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

  /** @returns undefined for a peer that is not known, or whose key is none */
  seal(peer: NodeId, probe: Probe): Uint8Array | undefined {
    const partner = this.#partners.get(peer);
    const key = partner && this.#keyOf(partner);
    return key ? sealProbe(this.#crypto, key, this.#id, peer, probe) : undefined;
  }

  /** @returns who has sent it, and what it says; undefined when it was dropped */
  open(datagram: Uint8Array, now: number): { readonly peer: NodeId; readonly probe: Probe } | undefined {
    const parties = probeParties(datagram);
    if (parties === undefined) return this.#drop('malformed');
    const partner = this.#partners.get(parties.sender);
    if (partner === undefined || parties.receiver !== this.#id) return this.#drop('unknown-peer');
    if (!this.#limit.take(now)) return this.#drop('rate-limited');
    const key = this.#keyOf(partner);
    const probe = key ? openProbe(this.#crypto, key, datagram) : undefined;
    if (probe === undefined) return this.#drop('forged');
    if (!partner.nonces.add(datagram)) return this.#drop('replayed');
    return { peer: parties.sender, probe };
  }

  /** Erases all keys. */
  close(): void {
    for (const id of [...this.#partners.keys()]) this.removePeer(id);
  }

  #keyOf(partner: Partner): Uint8Array | null {
    if (partner.shared === undefined) partner.shared = probeKey(this.#crypto, this.#own, partner.key) ?? null;
    return partner.shared;
  }

  #drop(reason: ProbeDrop): undefined {
    this.drops.set(reason, (this.drops.get(reason) ?? 0) + 1);
    return undefined;
  }
}
