import type { CreatedInterface } from '../../device/running-interface.js';
import { parseAddress } from '../../ip/address.js';
import { type Cidr, parseCidr } from '../../ip/cidr.js';
import type { Endpoint } from '../../ip/endpoint.js';
import type { Log } from '../../log.js';
import type { NodeId } from '../../protocol/node-id.js';
import { decodeBase64 } from '../../protocol/text.js';
import type { SocketEndpoint } from '../../tunnel/engine.js';
import type { Transfer } from '../../wireguard/activity.js';
import type { Peer } from '../../wireguard/peer.js';
import type { NodeCommand } from '../machine/commands.js';
import type { PeerTransfer } from '../machine/node-status.js';
import type { RelayRoute } from '../machine/paths/relay-link.js';
import { type OnFrame, RelaySocket } from './relay-socket.js';

/** How often to check whether the interface is up while a greeting waits for it, milliseconds. */
const UP_INTERVAL = 50;

export type InterfaceCommand = Extract<
  NodeCommand,
  {
    readonly kind:
      | ('datagram' | 'relayed' | 'reply')
      | ('peer' | 'remove-peer' | 'shares' | 'endpoint' | 'greet')
      | ('relay' | 'frame');
  }
>;

/** The WireGuard interface of a node: its peers are the members, with their keys, addresses, endpoints and shares. */
export class NodeInterface {
  readonly #device: CreatedInterface;
  readonly #log: Log;
  readonly #peers = new Map<NodeId, Peer>();
  /** Member's id by share. */
  readonly #shares = new Map<string, NodeId>();
  readonly #greeting = new Set<NodeId>();
  #relaySocket: RelaySocket | undefined;
  #relay: RelayRoute;
  #hasChanged = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(device: CreatedInterface, log: Log) {
    this.#device = device;
    this.#log = log;
  }

  /** @param onFrame sends relay frames through the channel */
  async openRelay(onFrame: OnFrame): Promise<void> {
    this.#relaySocket = await RelaySocket.open(() => this.#device.port, onFrame);
  }

  /** Changes of peers and shares take effect with `commit`. */
  perform(command: InterfaceCommand): void {
    const { wireguard } = this.#device;
    switch (command.kind) {
      case 'datagram':
        wireguard.sendSideChannel(command.bytes, wireguard.endpoint(command.to), command.hops);
        return;
      case 'reply':
        wireguard.sendSideChannel(command.bytes, command.to as SocketEndpoint);
        return;
      case 'relayed': {
        const relay = this.#relayEndpoint();
        if (relay !== undefined)
          wireguard.sendSideChannel(command.bytes, wireguard.endpoint(relay, command.peer));
        return;
      }
      case 'frame':
        this.#relaySocket?.deliver(command.peer, command.datagram);
        return;
      case 'relay':
        this.#relay = command.route;
        wireguard.setRelays(
          [this.#relaySocket?.endpoint, command.address].filter((relay) => relay !== undefined),
        );
        return;
      case 'peer':
        this.#add(command);
        return;
      case 'remove-peer':
        this.#remove(command.id);
        return;
      case 'shares':
        this.#setShares(command.owners);
        return;
      case 'endpoint':
        this.#setEndpoint(command.peer, command.endpoint);
        return;
      case 'greet':
        this.#greet(command.peer);
        return;
    }
  }

  commit(): void {
    if (this.#hasChanged) this.#device.wireguard.commit();
    this.#hasChanged = false;
  }

  /** The bytes received from and sent to each peer. */
  *transfers(): Generator<readonly [id: NodeId, transfer: Transfer]> {
    for (const [id, peer] of this.#peers) yield [id, this.#device.wireguard.transfer(peer)];
  }

  traffic(id: NodeId): PeerTransfer {
    const peer = this.#peers.get(id);
    if (peer === undefined) return { received: 0, sent: 0, lastHandshake: 0 };
    const { wireguard } = this.#device;
    const age = wireguard.now() - peer.sessionBegan;
    const lastHandshake = peer.lastHandshake === 0 ? 0 : Math.round(Date.now() - age); // the clock may have been set since
    return { ...wireguard.transfer(peer), lastHandshake };
  }

  /** Leaves the device open. */
  close(): void {
    clearTimeout(this.#timer);
    this.#relaySocket?.close();
  }

  #relayEndpoint(): Endpoint | undefined {
    return this.#relay === 'channel' ? this.#relaySocket?.endpoint : this.#relay;
  }

  #add({ id, key, addresses }: Extract<NodeCommand, { kind: 'peer' }>): void {
    const { wireguard } = this.#device;
    this.#hasChanged = true;
    try {
      const peer = wireguard.addPeer(decodeBase64(key));
      this.#peers.set(id, peer);
      for (const text of [addresses.ipv4, addresses.ipv6]) wireguard.allow(peer, host(text));
    } catch (error) {
      this.#log.error(`node ${id}: ${(error as Error).message}`);
    }
  }

  #remove(id: NodeId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#hasChanged = true;
    for (const [share, owner] of [...this.#shares]) if (owner === id) this.#disallow(share);
    this.#device.wireguard.removePeer(peer);
    this.#peers.delete(id);
    this.#greeting.delete(id);
  }

  #setShares(owners: ReadonlyMap<string, NodeId>): void {
    this.#hasChanged = true;
    for (const [share, owner] of [...this.#shares]) if (owners.get(share) !== owner) this.#disallow(share);
    for (const [share, owner] of owners) {
      const peer = this.#peers.get(owner);
      if (peer === undefined || this.#shares.has(share)) continue;
      this.#device.wireguard.allow(peer, parseCidr(share)!);
      this.#shares.set(share, owner);
    }
  }

  #disallow(share: string): void {
    const owner = this.#peers.get(this.#shares.get(share)!);
    this.#shares.delete(share);
    if (owner !== undefined) this.#device.wireguard.disallow(owner, parseCidr(share)!);
  }

  #setEndpoint(id: NodeId, direct: Endpoint | undefined): void {
    const peer = this.#peers.get(id);
    const remote = direct ?? this.#relayEndpoint();
    if (peer === undefined || remote === undefined) return;
    this.#device.wireguard.setEndpoint(peer, remote, direct === undefined ? id : 0);
    this.#device.wireguard.retryHandshake(peer);
  }

  /** Makes a session as soon as the interface is up, which the kernel announces late. */
  #greet(id: NodeId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    if (this.#device.wireguard.isUp) this.#device.wireguard.greet(peer);
    else {
      this.#greeting.add(id);
      this.#timer ??= setTimeout(() => this.#greetAll(), UP_INTERVAL);
    }
  }

  #greetAll(): void {
    this.#timer = undefined;
    const ids = [...this.#greeting];
    this.#greeting.clear();
    for (const id of ids) this.#greet(id);
  }
}

function host(text: string): Cidr {
  const address = parseAddress(text)!;
  return { address, prefix: address.length * 8 };
}
