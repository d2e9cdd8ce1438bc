import type { IpAddress } from '../ip/address.js';
import type { Endpoint } from '../ip/endpoint.js';
import type { Transfer } from '../wireguard/activity.js';
import type { Keypair } from '../wireguard/keypair.js';
import type { PeerNumber, ReceiverIndex } from '../wireguard/numbers.js';
import type { OffloadsInUse } from './offloads.js';

/** The address and the interface of this machine at which a peer's datagrams arrive. */
export interface SourceAddress {
  /** The local address that the peer wrote to. */
  readonly address: IpAddress;
  /** The interface's number. */
  readonly interface: number;
  /** Whether answers leave from that address. Otherwise the kernel chooses one. */
  readonly used: boolean;
}

/** A peer's address, and the local address that it wrote to, from which answers must leave. */
export interface SocketEndpoint {
  /** The remote address and port, and the peer's id at a relay, as the protocol machine compares them. */
  readonly bytes: Uint8Array;
  /** Where datagrams go: the peer's address, or the relay's. */
  readonly remote: Endpoint;
  /** The peer's id at the relay at `remote`; 0 if there is no relay. */
  readonly relayPeer: number;
  /** Undefined until a datagram has arrived from there. */
  readonly source: SourceAddress | undefined;
  /** The same without `source`; undefined if that is not known anyway. */
  readonly withoutSource: SocketEndpoint | undefined;
  /** The same, with `source.used` set. */
  using(source: boolean): SocketEndpoint;
  equals(other: { readonly bytes: Uint8Array }): boolean;
}

/** The largest datagram that the control plane sends, in bytes: a probe that fills an Ethernet frame. */
export const MAX_SIDE_CHANNEL = 1472;

/** What the engine tells the control plane, on the control plane's thread. */
export interface EngineEvents {
  /** A WireGuard message without data, for `WireGuardMachine.handleDatagram`; `queued` more wait behind it. */
  datagram(bytes: Uint8Array, from: SocketEndpoint, queued: number): void;
  /**
   * A message of the side channel (`protocol/relay.ts`), which anyone can send: a probe, directly or through the relay,
   * or a control message of the relay.
   */
  sideChannel(bytes: Uint8Array, from: SocketEndpoint): void;
  /** A peer's row has changed: `WireGuardMachine.handleActivity`. */
  wakeUp(peer: PeerNumber): void;
  /** An authentic packet came from another address, or to another local address: `WireGuardMachine.handleRoaming`. */
  roaming(peer: PeerNumber, from: SocketEndpoint): void;
  /** Which offloads the data plane uses, each time it gets a socket. */
  offloads(inUse: OffloadsInUse): void;
  /** The TUN device was removed, or the worker failed. Nothing moves any more. */
  ended(reason: 'device-gone' | Error): void;
}

/**
 * The data plane of one interface, as the control plane sees it: a worker that moves packets between a TUN device
 * and UDP, and a ring of commands to it. All calls return at once; commands take effect in order.
 */
export interface Engine {
  /** Gives a peer a number and a row (`ACTIVITY`), both for its lifetime. */
  addPeer(): { readonly id: PeerNumber; readonly row: Float64Array; readonly at: number };
  /** Takes the number back. Drop the peer's keypairs and remove its allowed IPs first. */
  removePeer(id: PeerNumber): void;

  /** Copies the keys, and erases the originals. */
  installKeypair(peer: PeerNumber, keypair: Keypair, sendingKey: Uint8Array, receivingKey: Uint8Array): void;
  /**
   * Sends under this keypair from now on (`NO_INDEX`: none), waiting packets first; `confirm`: a keepalive if none
   * waits.
   */
  useKeypair(peer: PeerNumber, localIndex: ReceiverIndex, confirm: boolean): void;
  dropKeypair(peer: PeerNumber, localIndex: ReceiverIndex): void;
  keepalive(peer: PeerNumber): void;
  discardQueue(peer: PeerNumber): void;
  setEndpoint(peer: PeerNumber, endpoint: SocketEndpoint): void;
  /** Lets the kernel choose the source address until the peer's next packet. */
  forgetSource(peer: PeerNumber): void;
  /** Sets whether packets leave from the source address in `endpoint`. Ignored if the peer has moved. */
  useSource(peer: PeerNumber, endpoint: SocketEndpoint, use: boolean): void;

  /** Replaces the table of allowed IPs, made by `PrefixTable.compile` in shared memory; owners are peer numbers. */
  setAllowedIps(table: Int32Array): void;
  setMtu(mtu: number): void;
  /** While down, the engine reads and drops WireGuard messages and packets. The side channel works. */
  setUp(up: boolean): void;
  /**
   * Uses this socket from now on, an IPv6 socket for both IP versions or an IPv4 socket; -1 for none. It must report
   * destinations and traffic classes. Keep the previous socket open until the worker has read the command.
   */
  setSocket(fd: number, family: number): void;

  /** Accepts relay frames from these addresses, at most two, and drops those from others. */
  setRelays(relays: readonly Endpoint[]): void;

  /**
   * Sends a handshake message or a message of the side channel at once. An answer leaves from the address that the
   * other side wrote to. A message to a member behind the relay is framed.
   *
   * @param bytes at most MAX_SIDE_CHANNEL
   * @param hops the hop limit; the system's unless given
   */
  sendDatagram(bytes: Uint8Array, to: SocketEndpoint, hops?: number): void;
  /** An endpoint from a configuration; the kernel chooses the source address. */
  endpoint(remote: Endpoint, relayPeer?: number): SocketEndpoint;

  transfer(peer: PeerNumber): Transfer;
  /** How many datagrams and packets were dropped, by reason: those of `wireguard/drops.ts` and of the data plane. */
  drops(): ReadonlyMap<string, number>;
  /** Milliseconds of CLOCK_BOOTTIME: the clock of rows and keypairs, never 0. */
  now(): number;
  /** Ends the worker. Resolves when it has zeroed all keys and uses no descriptor. */
  close(): Promise<void>;
}
