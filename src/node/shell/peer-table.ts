import type { WireGuardInterface } from '../../device/interface.js';
import { parseAddress } from '../../ip/address.js';
import { type Cidr, parseCidr } from '../../ip/cidr.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { NodeId } from '../../protocol/node-id.js';
import { decodeBase64 } from '../../protocol/text.js';
import type { Transfer } from '../../wireguard/activity.js';
import type { Peer } from '../../wireguard/peer.js';
import type { NodeCommand } from '../machine/commands.js';
import type { PeerTransfer } from '../machine/node-status.js';

/** How often to ask whether the interface is up, where a greeting waits for that; milliseconds. */
const UNTIL_UP = 50;

/** The members as peers of the interface: their keys, their addresses, their endpoints, and what they share. */
export class PeerTable {
  readonly #wireguard: WireGuardInterface;
  readonly #peers = new Map<NodeId, Peer>();
  /** Member's id by share. */
  readonly #shares = new Map<string, NodeId>();
  readonly #greeting = new Set<NodeId>();
  #timer: NodeJS.Timeout | undefined;

  constructor(wireguard: WireGuardInterface) {
    this.#wireguard = wireguard;
  }

  /** Followed by `commit`, as are the other changes of peers and shares. */
  add({ id, key, addresses }: Extract<NodeCommand, { kind: 'peer' }>): void {
    const peer = this.#wireguard.addPeer(decodeBase64(key));
    this.#peers.set(id, peer);
    for (const text of [addresses.ipv4, addresses.ipv6]) this.#wireguard.allow(peer, host(text));
  }

  remove(id: NodeId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    for (const [share, owner] of [...this.#shares]) if (owner === id) this.#disallow(share);
    this.#wireguard.removePeer(peer);
    this.#peers.delete(id);
    this.#greeting.delete(id);
  }

  /** Routes these shares, and no others. @param owners member's id by share */
  setShares(owners: ReadonlyMap<string, NodeId>): void {
    for (const [share, owner] of [...this.#shares]) if (owners.get(share) !== owner) this.#disallow(share);
    for (const [share, owner] of owners) {
      const peer = this.#peers.get(owner);
      if (peer === undefined || this.#shares.has(share)) continue;
      this.#wireguard.allow(peer, parseCidr(share)!);
      this.#shares.set(share, owner);
    }
  }

  commit(): void {
    this.#wireguard.commit();
  }

  setEndpoint(id: NodeId, remote: Endpoint, isRelayed: boolean): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#wireguard.setEndpoint(peer, remote, isRelayed ? id : 0);
    this.#wireguard.retryHandshake(peer);
  }

  /** Makes a session with it, if there is none, as soon as the interface is up: the kernel takes its time to say so. */
  greet(id: NodeId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    if (this.#wireguard.isUp) this.#wireguard.greet(peer);
    else {
      this.#greeting.add(id);
      this.#timer ??= setTimeout(() => this.#greetAll(), UNTIL_UP);
    }
  }

  /** What peers have sent and received. */
  *counted(): Generator<readonly [id: NodeId, transfer: Transfer]> {
    for (const [id, peer] of this.#peers) yield [id, this.#wireguard.transfer(peer)];
  }

  traffic(id: NodeId): PeerTransfer {
    const peer = this.#peers.get(id);
    if (peer === undefined) return { received: 0, sent: 0, lastHandshake: 0 };
    const age = this.#wireguard.now() - peer.sessionBegan;
    const lastHandshake = peer.lastHandshake === 0 ? 0 : Math.round(Date.now() - age); // the clock may have been set since
    return { ...this.#wireguard.transfer(peer), lastHandshake };
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #greetAll(): void {
    this.#timer = undefined;
    const ids = [...this.#greeting];
    this.#greeting.clear();
    for (const id of ids) this.greet(id);
  }

  #disallow(share: string): void {
    const owner = this.#peers.get(this.#shares.get(share)!);
    this.#shares.delete(share);
    if (owner !== undefined) this.#wireguard.disallow(owner, parseCidr(share)!);
  }
}

function host(text: string): Cidr {
  const address = parseAddress(text)!;
  return { address, prefix: address.length * 8 };
}
