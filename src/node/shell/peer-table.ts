import type { WireGuardInterface } from '../../device/interface.js';
import { parseAddress } from '../../ip/address.js';
import { type Cidr, parseCidr } from '../../ip/cidr.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { Peer } from '../../wireguard/peer.js';
import type { Member } from '../machine/members.js';
import type { OwnHost } from './own-host.js';

/** What is known of a peer's traffic. */
export interface PeerTraffic {
  /** Bytes on the wire. */
  readonly received: number;
  readonly sent: number;
  /** Milliseconds since 1970; 0 for never. */
  readonly lastHandshake: number;
}

/** A peer that has sent or received something. */
export interface PeerActivity {
  readonly id: number;
  /** Packets go to it, and for some time none has come back. */
  readonly isSilent: boolean;
}

/** For so long a peer may answer nothing before that is odd, milliseconds. */
const SILENCE = 500;
/** After such a pause a question is a new one. */
const PAUSE = 2_000;

/** What a peer had sent and received when traffic was looked for last, in bytes, and when that was. */
interface Seen {
  readonly received: number;
  readonly sent: number;
  readonly at: number;
  /** Since when packets go to it without an answer. */
  readonly unansweredSince: number | undefined;
}

/** The members as peers of the device: their keys, their addresses, where they are, and the routes of what they share. */
export class PeerTable {
  readonly #wireguard: WireGuardInterface;
  readonly #host: OwnHost;
  readonly #peers = new Map<number, Peer>();
  readonly #seen = new Map<number, Seen>();
  /** Whose it is, by share. */
  readonly #shares = new Map<string, number>();

  constructor(wireguard: WireGuardInterface, host: OwnHost) {
    this.#wireguard = wireguard;
    this.#host = host;
  }

  /** Followed by `commit`, as are the other changes. */
  add({ id, key, ipv4, ipv6 }: Member): void {
    const peer = this.#wireguard.addPeer(new Uint8Array(Buffer.from(key, 'base64')));
    this.#peers.set(id, peer);
    for (const text of [ipv4, ipv6]) this.#wireguard.allow(peer, host(text));
  }

  remove(id: number): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    for (const [share, owner] of [...this.#shares]) if (owner === id) this.#unroute(share);
    this.#wireguard.removePeer(peer);
    this.#peers.delete(id);
    this.#seen.delete(id);
  }

  /** Routes these shares, and no others. @param plan member's id by share */
  setShares(plan: ReadonlyMap<string, number>): void {
    for (const [share, owner] of [...this.#shares]) if (plan.get(share) !== owner) this.#unroute(share);
    for (const [share, owner] of plan) {
      const peer = this.#peers.get(owner);
      if (peer === undefined || this.#shares.has(share)) continue;
      this.#wireguard.allow(peer, parseCidr(share)!);
      this.#shares.set(share, owner);
    }
  }

  /** The shared networks that are routed into the tunnel. */
  routed(): Cidr[] {
    return [...this.#shares.keys()].map((share) => parseCidr(share)!);
  }

  commit(): void {
    this.#wireguard.commit();
    this.#host.route(this.routed());
  }

  /** @param relay undefined: directly */
  setEndpoint(id: number, remote: Endpoint, viaRelay: boolean): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#wireguard.setEndpoint(peer, remote, viaRelay ? id : 0);
    this.#wireguard.retryHandshake(peer);
  }

  /** Makes a session with it, if there is none. */
  greet(id: number): void {
    const peer = this.#peers.get(id);
    if (peer !== undefined) this.#wireguard.greet(peer);
  }

  /** Those that have sent or received anything since this was asked last. */
  *active(): Generator<PeerActivity> {
    const now = this.#wireguard.now();
    for (const [id, peer] of this.#peers) {
      const { received, sent } = this.#wireguard.transfer(peer);
      const before = this.#seen.get(id) ?? {
        received: 0,
        sent: 0,
        at: -Infinity,
        unansweredSince: undefined,
      };
      if (received === before.received && sent === before.sent) continue;
      const isAnswered = received !== before.received;
      const since = now - before.at > PAUSE ? undefined : before.unansweredSince;
      const unansweredSince = isAnswered ? undefined : (since ?? now);
      this.#seen.set(id, { received, sent, at: now, unansweredSince });
      yield { id, isSilent: unansweredSince !== undefined && now - unansweredSince >= SILENCE };
    }
  }

  traffic(id: number): PeerTraffic {
    const peer = this.#peers.get(id);
    if (peer === undefined) return { received: 0, sent: 0, lastHandshake: 0 };
    const age = this.#wireguard.now() - peer.sessionBegan;
    const lastHandshake = peer.lastHandshake === 0 ? 0 : Math.round(Date.now() - age); // the clock may have been set since
    return { ...this.#wireguard.transfer(peer), lastHandshake };
  }

  #unroute(share: string): void {
    const owner = this.#peers.get(this.#shares.get(share)!);
    this.#shares.delete(share);
    if (owner !== undefined) this.#wireguard.disallow(owner, parseCidr(share)!);
  }
}

function host(text: string): Cidr {
  const address = parseAddress(text)!;
  return { address, prefix: address.length * 8 };
}
