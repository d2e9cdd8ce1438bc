import { deferred } from '../deferred.js';
import type { IpAddress } from '../ip/address.js';
import type { Cidr } from '../ip/cidr.js';
import type { Endpoint } from '../ip/endpoint.js';
import type { Prefix } from '../ip/prefix-table.js';
import type { Egress } from '../linux/net/egress.js';
import type { Log } from '../log.js';
import { type Engine, type EngineEvents, MAX_SIDE_CHANNEL, type SocketEndpoint } from '../tunnel/engine.js';
import { describeOffloads, type OffloadsInUse } from '../tunnel/offloads.js';
import type { Transfer } from '../wireguard/activity.js';
import { type Crypto, secretBytes } from '../wireguard/crypto.js';
import type { PathRule } from '../wireguard/events.js';
import { WireGuardMachine } from '../wireguard/machine.js';
import type { PeerNumber } from '../wireguard/numbers.js';
import type { Peer } from '../wireguard/peer.js';
import { AllowedIps } from './allowed-ips.js';
import { ProtocolDriver } from './protocol-driver.js';
import { Sources } from './sources.js';
import { type DeviceSocket, UdpSockets } from './udp-sockets.js';

export type EndReason = 'device-gone' | Error;

export interface InterfaceOptions {
  readonly crypto: Crypto;
  /** Milliseconds since 1970. */
  readonly wallClock: () => number;
  readonly log: Log;
  /** Makes the data plane. */
  readonly engine: (events: EngineEvents) => Engine;
  /** Opens a UDP socket on a port, 0 for any; throws a LinuxError. */
  readonly openSocket: (port: number) => DeviceSocket;
  /**
   * By which interface packets from a local address to another address leave, by the socket's routes: `EgressLookup`.
   */
  readonly egress: (from: IpAddress, to: IpAddress, mark: number) => Egress;
  /** The first UDP port; any if not given. */
  readonly port?: number;
  /** What sets peers' endpoints; default `peers`. The engine must get the same. */
  readonly paths?: PathRule;
  /** Gets the messages of the side channel: `EngineEvents.sideChannel`. */
  readonly sideChannel?: (bytes: Uint8Array, from: SocketEndpoint) => void;
}

/**
 * One WireGuard interface: connects the protocol machine, the data plane and the socket, and holds their configuration.
 * It begins down and without a key.
 *
 * Call `commit` after changes of allowed IPs. Wrong arguments throw and change nothing.
 */
export class WireGuardInterface {
  /** Why the interface has ended: the device was removed, or the data plane failed. */
  readonly ended: Promise<EndReason>;
  readonly #crypto: Crypto;
  readonly #log: Log;
  readonly #machine: WireGuardMachine;
  readonly #engine: Engine;
  readonly #driver: ProtocolDriver;
  readonly #sockets: UdpSockets;
  readonly #sources: Sources;
  readonly #allowedIps: AllowedIps;
  readonly #byId = new Map<PeerNumber, Peer>();
  /** A copy of the clamped key, for `get=1`. */
  readonly #privateKey = secretBytes();
  #fwmark = 0;
  #mtu = 0;
  /** The last log line about offloads. */
  #offloads = '';
  #closed = false;

  /** @throws LinuxError if no socket can be opened */
  constructor(options: InterfaceOptions) {
    const { log, egress } = options;
    this.#crypto = options.crypto;
    this.#log = log;
    this.#machine = new WireGuardMachine(options);
    this.#sockets = new UdpSockets(options.openSocket);
    const socket = this.#sockets.move(options.port ?? 0);
    const end = deferred<EndReason>();
    this.ended = end.promise;
    this.#engine = options.engine({
      datagram: (bytes, from, queued) => {
        this.#machine.handleDatagram(bytes, from, this.#engine.now(), queued);
        this.#driver.settle();
      },
      sideChannel: (bytes, from) => options.sideChannel?.(bytes, from),
      wakeUp: (id) => this.#wakeUp(id),
      roaming: (id, from) => this.#roam(id, from),
      offloads: (inUse) => this.#noteOffloads(inUse),
      ended: (reason) => {
        this.detach();
        end.resolve(reason);
      },
    });
    this.#sources = new Sources({
      egress,
      now: () => this.#engine.now(),
      peers: () => this.peers,
      change: (peer, endpoint, use) => this.#useSource(peer, endpoint, use),
    });
    this.#driver = new ProtocolDriver(this.#machine, this.#engine, this.#sources, log);
    this.#allowedIps = new AllowedIps(
      (table) => this.#driver.isDetached || this.#engine.setAllowedIps(table),
      (owner) => this.#driver.isDetached || this.#engine.removePeer(owner),
    );
    this.#engine.setSocket(socket.fd, socket.family);
  }

  // State, for `get=1`.

  get listenPort(): number {
    return this.#sockets.current?.port ?? 0;
  }

  get fwmark(): number {
    return this.#fwmark;
  }

  /** Clamped; undefined if there is none. Do not keep it, and do not make it a string. */
  get privateKey(): Readonly<Uint8Array> | undefined {
    return this.#machine.publicKey && this.#privateKey;
  }

  get publicKey(): Readonly<Uint8Array> | undefined {
    return this.#machine.publicKey?.bytes;
  }

  get isUp(): boolean {
    return this.#machine.isUp;
  }

  get peers(): IterableIterator<Peer> {
    return this.#machine.peers;
  }

  peer(publicKey: Uint8Array): Peer | undefined {
    return this.#machine.peer(publicKey);
  }

  allowedIpsOf(peer: Peer): Iterable<Prefix> {
    return this.#allowedIps.of(peer.id);
  }

  transfer(peer: Peer): Transfer {
    const { received, sent } = this.#engine.transfer(peer.id);
    return {
      received: received + peer.handshakeBytes.received,
      sent: sent + peer.handshakeBytes.sent,
    };
  }

  /** Milliseconds of a clock that counts suspended time and never goes back. */
  now(): number {
    return this.#engine.now();
  }

  /** How much both planes have dropped, by reason. */
  drops(): Map<string, number> {
    const all = new Map(this.#engine.drops());
    for (const [reason, count] of this.#machine.drops.entries())
      all.set(reason, (all.get(reason) ?? 0) + count);
    return all;
  }

  // Configuration of the device.

  /**
   * Sets the private key; all zeros remove it. A different key ends all sessions, and removes a peer with the
   * interface's own public key.
   *
   * @param bytes 32 bytes, which are erased
   */
  setPrivateKey(bytes: Uint8Array): void {
    const none = bytes.every((byte) => byte === 0);
    if (!none) {
      bytes[0]! &= 0xf8; // RFC 7748 §5: as X25519 itself does, and as `wg` shows it
      bytes[31] = (bytes[31]! & 0x7f) | 0x40;
    }
    const key = none ? undefined : this.#crypto.privateKey(bytes);
    if (this.#crypto.equal(key?.publicKey.bytes ?? NONE, this.publicKey ?? NONE)) {
      key?.destroy();
    } else {
      const own = key && this.peer(key.publicKey.bytes);
      if (own) this.removePeer(own);
      this.#machine.setPrivateKey(key, this.#engine.now());
      this.#privateKey.set(bytes);
      this.#log.verbose('UAPI: Updating private key');
      this.#driver.settle();
    }
    bytes.fill(0);
  }

  /**
   * Moves to another UDP port; 0 for any.
   *
   * @throws LinuxError, mostly EADDRINUSE; then the port is unchanged
   */
  setListenPort(port: number): void {
    const before = this.#sockets.current;
    const socket = this.#sockets.move(port);
    if (socket === before) return;
    try {
      socket.setMark(this.#fwmark);
    } catch (error) {
      this.#log.error(`UDP port ${socket.port}: ${(error as Error).message}`);
    }
    this.#engine.setSocket(socket.fd, socket.family);
    this.#forgetSources();
    this.#log.verbose('UDP bind has been updated');
  }

  /** @throws LinuxError EPERM; then the mark is unchanged */
  setFwmark(mark: number): void {
    this.#sockets.current?.setMark(mark);
    this.#fwmark = mark;
    this.#sources.mark = mark;
    this.#forgetSources(); // other routing rules may apply
  }

  // Configuration of peers.

  /** @throws LametunError `usage` for a key that exists already, or the interface's own */
  addPeer(publicKey: Uint8Array): Peer {
    const { id, row, at } = this.#engine.addPeer();
    try {
      const peer = this.#machine.addPeer(publicKey, id, row, at);
      this.#byId.set(id, peer);
      return peer;
    } catch (error) {
      this.#engine.removePeer(id);
      throw error;
    }
  }

  removePeer(peer: Peer): void {
    this.#machine.removePeer(peer, this.#engine.now());
    this.#driver.settle();
    this.#byId.delete(peer.id);
    this.#allowedIps.removeOwner(peer.id);
  }

  removeAllPeers(): void {
    for (const peer of [...this.peers]) this.removePeer(peer);
    this.#allowedIps.commit(); // frees their numbers for new peers
  }

  /** @param key 32 bytes, all zeros for none; they are erased */
  setPresharedKey(peer: Peer, key: Uint8Array): void {
    this.#machine.setPresharedKey(peer, key.some((byte) => byte !== 0) ? key : undefined);
    key.fill(0);
  }

  /** @param seconds 0 turns it off; turning it on sends one now */
  setPersistentKeepalive(peer: Peer, seconds: number): void {
    this.#machine.setPersistentKeepalive(peer, seconds * 1000, this.#engine.now());
    this.#driver.settle();
  }

  /** @param relayPeer the peer's number at the relay at `remote`; 0 for no relay */
  setEndpoint(peer: Peer, remote: Endpoint, relayPeer = 0): void {
    this.#machine.setEndpoint(peer, this.#engine.endpoint(remote, relayPeer));
    this.#driver.settle();
  }

  /** Makes a session with a peer, or sends a keepalive if there is one. */
  greet(peer: Peer): void {
    this.#machine.greet(peer, this.#engine.now());
    this.#driver.settle();
  }

  /** A path to a peer has opened: retries a handshake that is not answered yet. */
  retryHandshake(peer: Peer): void {
    this.#machine.retryHandshake(peer, this.#engine.now());
    this.#driver.settle();
  }

  /** Gives a network to a peer, and takes it from the one that had it. Host bits are ignored. */
  allow(peer: Peer, network: Cidr): void {
    this.#allowedIps.insert(network, peer.id);
  }

  /** Takes a network from a peer. Does nothing if the peer does not have it. */
  disallow(peer: Peer, network: Cidr): void {
    this.#allowedIps.remove(network, peer.id);
  }

  disallowAll(peer: Peer): void {
    this.#allowedIps.removeAllOf(peer.id);
  }

  /** Tells the data plane changes of allowed IPs and removed peers. */
  commit(): void {
    this.#allowedIps.commit();
    this.#driver.prepareSoon();
  }

  // The side channel.

  /** An address to send to: a peer's, or that of a relay where the peer has the number `relayPeer`. */
  endpoint(remote: Endpoint, relayPeer = 0): SocketEndpoint {
    return this.#engine.endpoint(remote, relayPeer);
  }

  /** Accepts relay frames from these addresses only, at most two. */
  setRelays(relays: readonly Endpoint[]): void {
    if (!this.#driver.isDetached) this.#engine.setRelays(relays);
  }

  /**
   * Sends a datagram once through the device's socket; in a relay frame if `to` names a relay. It may be lost. An
   * answer to a message's sender leaves from the address that the message was sent to.
   *
   * @param bytes at most MAX_SIDE_CHANNEL, which are copied
   * @param hops the hop limit; the system's unless given
   */
  sendSideChannel(bytes: Uint8Array, to: SocketEndpoint, hops?: number): void {
    if (bytes.length > MAX_SIDE_CHANNEL) throw new RangeError(`a datagram of ${bytes.length} bytes`);
    if (!this.#driver.isDetached) this.#engine.sendDatagram(bytes, to, hops);
  }

  // What the kernel reports about the device and the socket's network.

  /** Devices, addresses or routes have changed. */
  networkChanged(): void {
    this.#sources.changed();
  }

  setUp(up: boolean): void {
    if (up === this.#machine.isUp || this.#closed) return;
    const now = this.#engine.now();
    if (up) {
      this.#engine.setUp(true);
      this.#machine.up(now);
    } else {
      this.#machine.down(now);
    }
    this.#driver.settle();
    if (!up && !this.#driver.isDetached) this.#engine.setUp(false);
    const [from, to] = up ? ['Down', 'Up'] : ['Up', 'Down'];
    this.#log.verbose(`Interface state was ${from}, requested ${to}, now ${to}`);
  }

  /** @param mtu bytes */
  setMtu(mtu: number): void {
    if (mtu === this.#mtu || this.#closed) return;
    this.#mtu = mtu;
    this.#engine.setMtu(mtu);
    this.#log.verbose(`MTU updated: ${mtu}`);
  }

  /** The TUN device is gone, and the data plane with it: sends it no more commands. */
  detach(): void {
    this.#driver.detach();
  }

  /** Ends all sessions and the data plane, and closes the socket. The TUN device stays the caller's. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.setUp(false);
    this.#closed = true;
    this.#driver.stop();
    this.#machine.setPrivateKey(undefined, this.#engine.now());
    this.#driver.settle();
    this.#privateKey.fill(0);
    this.#allowedIps.commit();
    this.#driver.detach();
    this.#sources.close();
    await this.#engine.close();
    this.#sockets.close();
  }

  #wakeUp(id: PeerNumber): void {
    const peer = this.#byId.get(id);
    if (!peer) return; // it was removed meanwhile
    this.#machine.handleActivity(peer, this.#engine.now());
    this.#driver.settle();
  }

  #roam(id: PeerNumber, from: SocketEndpoint): void {
    const peer = this.#byId.get(id);
    if (!peer) return;
    this.#machine.handleRoaming(peer, from);
    this.#driver.settleRoaming();
    this.#sources.review(peer);
  }

  #useSource(peer: Peer, endpoint: SocketEndpoint, use: boolean): void {
    peer.endpoint = endpoint;
    if (!this.#driver.isDetached) this.#engine.useSource(peer.id, endpoint, use);
  }

  #noteOffloads(inUse: OffloadsInUse): void {
    const text = `Offloads: ${describeOffloads(inUse)}`;
    if (text !== this.#offloads) this.#log.verbose(text);
    this.#offloads = text;
  }

  #forgetSources(): void {
    for (const peer of this.peers) {
      peer.endpoint = peer.endpoint?.withoutSource ?? peer.endpoint;
      this.#engine.forgetSource(peer.id);
    }
  }
}

/** Stands for a missing public key. */
const NONE = new Uint8Array(32);
