import type { IpAddress } from '../ip/address.js';
import type { Endpoint } from '../ip/endpoint.js';
import type { Keypair } from '../wireguard/keypair.js';
import type { PeerNumber, ReceiverIndex } from '../wireguard/numbers.js';
import type { OffloadsInUse } from './offloads.js';

/** Where a peer's datagrams come in. */
export interface SourceAddress {
  /** Ours, that the peer wrote to. */
  readonly address: IpAddress;
  /** The number of the interface. */
  readonly interface: number;
  /** Whether answers leave from that address, or the kernel chooses one. */
  readonly used: boolean;
}

/** Where a peer is: the remote address, and our own address that it wrote to, which our answers must leave from. */
export interface SocketEndpoint {
  /** The remote address and port, and who it is at a relay, as the protocol machine compares them and binds cookies to them. */
  readonly bytes: Uint8Array;
  /** The same, to show: where datagrams go, a relay's address if there is one. */
  readonly remote: Endpoint;
  /** The number by which the relay at `remote` knows the peer; 0: there is no relay. */
  readonly relayPeer: number;
  /** Undefined while the peer has not been heard from there. */
  readonly source: SourceAddress | undefined;
  /** The same place with our side forgotten; undefined where it is not known anyway. */
  readonly withoutSource: SocketEndpoint | undefined;
  /** The same place and our side, and whether answers leave from there. */
  using(source: boolean): SocketEndpoint;
  equals(other: { readonly bytes: Uint8Array }): boolean;
}

/** The largest datagram that the control plane sends, bytes: a probe of the length that Ethernet carries. */
export const MAX_SIDE_CHANNEL = 1472;

/** Bytes on the wire below UDP, and packets, as `wg show` counts them: the data path's part. */
export interface PeerTraffic {
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

/** What the engine tells the control plane, on its thread. */
export interface EngineEvents {
  /** A datagram that is no transport message; `queued` are waiting behind it. `WireGuardMachine.handleDatagram` is for it. */
  datagram(bytes: Uint8Array, from: SocketEndpoint, queued: number): void;
  /**
   * A message of the side channel (`protocol/relay.ts`), from anybody: a probe, directly or through the relay; or a control
   * message of the relay.
   */
  sideChannel(bytes: Uint8Array, from: SocketEndpoint): void;
  /** The row of a peer has news: `WireGuardMachine.handleActivity`. */
  wakeUp(peer: PeerNumber): void;
  /** An authentic packet came from elsewhere, or to another address of ours: `WireGuardMachine.handleRoaming`. */
  roaming(peer: PeerNumber, from: SocketEndpoint): void;
  /** What the data plane uses: when it has its first socket, and when that changes. */
  offloads(inUse: OffloadsInUse): void;
  /** The TUN device was removed, or the worker failed. Nothing moves any more. */
  ended(reason: 'device-gone' | Error): void;
}

/**
 * The data plane of one interface, as the control plane sees it: a worker that moves packets between a TUN device
 * and UDP, and a ring of commands to it. All calls return at once; commands take effect in their order.
 */
export interface Engine {
  /** Gives a peer a number and a row (`ACTIVITY`), both for its lifetime. */
  addPeer(): { readonly id: PeerNumber; readonly row: Float64Array; readonly at: number };
  /** Takes it back. Its keypairs must have been dropped, its allowed IPs removed. */
  removePeer(id: PeerNumber): void;

  /** Copies the keys, and erases what it was given. */
  installKeypair(peer: PeerNumber, keypair: Keypair, sendingKey: Uint8Array, receivingKey: Uint8Array): void;
  /** Sends under a keypair from now on, first what waits; `confirm`: a keepalive if nothing does. `NO_INDEX`: none. */
  useKeypair(peer: PeerNumber, localIndex: ReceiverIndex, confirm: boolean): void;
  dropKeypair(peer: PeerNumber, localIndex: ReceiverIndex): void;
  keepalive(peer: PeerNumber): void;
  discardQueue(peer: PeerNumber): void;
  setEndpoint(peer: PeerNumber, endpoint: SocketEndpoint): void;
  /** The kernel chooses our address, until the peer writes to one again. */
  forgetSource(peer: PeerNumber): void;
  /** Whether what is sent to an endpoint leaves from the address of ours in it; nothing if the peer is elsewhere by now. */
  useSource(peer: PeerNumber, endpoint: SocketEndpoint, use: boolean): void;

  /** Replaces the table of allowed IPs: `PrefixTable.compile` over shared memory, owners are peers' numbers. */
  setAllowedIps(table: Int32Array): void;
  setMtu(mtu: number): void;
  /** While down, datagrams are read and dropped, and packets too. */
  setUp(up: boolean): void;
  /**
   * From now on this socket (an IPv6 one for both IP versions, or an IPv4 one) is used; -1 for none. It is to report
   * destinations and traffic classes. The one before must stay open until the worker has heard of it.
   */
  setSocket(fd: number, family: number): void;

  /**
   * The relay's address from now on, or that there is none: frames count from there alone. Peers
   * that are reached through it have it in their endpoints.
   */
  setRelay(relay: Endpoint | undefined): void;

  /**
   * Sends a handshake message, or one of the side channel, at once, from the address that the other side wrote to if it is an
   * answer; framed when it goes to a relay's member.
   *
   * @param bytes at most MAX_SIDE_CHANNEL
   * @param hops how many routers it may pass, the one that drops it included; the system's limit unless given
   */
  sendDatagram(bytes: Uint8Array, to: SocketEndpoint, hops?: number): void;
  /** An endpoint as configuration has it: our own address is left to the kernel. */
  endpoint(remote: Endpoint, relayPeer?: number): SocketEndpoint;

  traffic(peer: PeerNumber): PeerTraffic;
  /** Reasons of `wireguard/drops.ts` and of the data plane, with their counts. */
  drops(): ReadonlyMap<string, number>;
  /** Milliseconds of CLOCK_BOOTTIME: the clock of rows and keypairs, never 0. */
  now(): number;
  /** Ends the worker; resolves when it uses no descriptor any more and has zeroed all keys. */
  close(): Promise<void>;
}
