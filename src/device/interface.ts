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
  /** Makes a UDP socket on a port, any for 0; throws a LinuxError. */
  readonly openSocket: (port: number) => DeviceSocket;
  /** Where what is sent from an address of ours to another address leaves, by the socket's routes: `EgressLookup`. */
  readonly egress: (from: IpAddress, to: IpAddress, mark: number) => Egress;
  /** The UDP port to begin with; any without it. */
  readonly port?: number;
  /** Who says where a peer is; `peers` without it. The engine is to be told the same. */
  readonly paths?: PathRule;
  /** Gets the messages of the side channel: `EngineEvents.sideChannel`. */
  readonly sideChannel?: (bytes: Uint8Array, from: SocketEndpoint) => void;
}

/**
 * One WireGuard interface: joins the protocol machine, the data plane and the socket, and has what they need of
 * configuration. It begins down, without a key, with a socket on a port that the kernel chose.
 *
 * Changes that come in numbers are followed by `commit`. Wrong arguments throw and change nothing.
 */
export class WireGuardInterface {
  /** Why there is nothing to do any more: the device was removed, or the data plane failed. */
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
  /** What was said of them last. */
  #offloads = '';
  #closed = false;

  /** @throws LinuxError when there is no socket to be had */
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

  /** Clamped; undefined when there is none. Not to be kept, nor made a string of. */
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

  /** What was dropped, by reason, in both planes. */
  drops(): Map<string, number> {
    const all = new Map(this.#engine.drops());
    for (const [reason, count] of this.#machine.drops.entries())
      all.set(reason, (all.get(reason) ?? 0) + count);
    return all;
  }

  // Configuration of the device.

  /**
   * Takes over a private key, all zeros for none. The same as before changes nothing, else all sessions end, and a
   * peer with our own public key is removed.
   *
   * @param bytes 32 of them, erased here
   */
  setPrivateKey(bytes: Uint8Array): void {
    const none = bytes.every((byte) => byte === 0);
    if (!none) {
      bytes[0]! &= 0xf8; // RFC 7748 §5: so does X25519 itself, and so `wg` shows it
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
   * Moves to another UDP port; to any with 0.
   *
   * @throws LinuxError EADDRINUSE above all; the port is the same as before then
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

  /** @throws LinuxError EPERM; the mark is the same as before then */
  setFwmark(mark: number): void {
    this.#sockets.current?.setMark(mark);
    this.#fwmark = mark;
    this.#sources.mark = mark;
    this.#forgetSources(); // other rules of routing may apply
  }

  // Configuration of peers.

  /** @throws LametunError `usage` for a key that is there already, or our own */
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
    this.#allowedIps.commit(); // their numbers are free for those that come
  }

  /** @param key 32 bytes, all zeros for none; erased here */
  setPresharedKey(peer: Peer, key: Uint8Array): void {
    this.#machine.setPresharedKey(peer, key.some((byte) => byte !== 0) ? key : undefined);
    key.fill(0);
  }

  /** @param seconds 0 turns it off; turned on, one is sent now */
  setPersistentKeepalive(peer: Peer, seconds: number): void {
    this.#machine.setPersistentKeepalive(peer, seconds * 1000, this.#engine.now());
    this.#driver.settle();
  }

  /** @param relayPeer the number by which the relay at `remote` knows the peer; 0: there is no relay */
  setEndpoint(peer: Peer, remote: Endpoint, relayPeer = 0): void {
    this.#machine.setEndpoint(peer, this.#engine.endpoint(remote, relayPeer));
    this.#driver.settle();
  }

  /** Makes a session with a peer; one that there is gets a keepalive. */
  greet(peer: Peer): void {
    this.#machine.greet(peer, this.#engine.now());
    this.#driver.settle();
  }

  /** A way to a peer has opened: a handshake that waits for an answer is tried again now. */
  retryHandshake(peer: Peer): void {
    this.#machine.retryHandshake(peer, this.#engine.now());
    this.#driver.settle();
  }

  /** Gives a network to a peer, and takes it from the one that had it. Host bits are ignored. */
  allow(peer: Peer, network: Cidr): void {
    this.#allowedIps.insert(network, peer.id);
  }

  /** Takes a network from a peer; does nothing when it has not got it. */
  disallow(peer: Peer, network: Cidr): void {
    this.#allowedIps.remove(network, peer.id);
  }

  disallowAll(peer: Peer): void {
    this.#allowedIps.removeAllOf(peer.id);
  }

  /** Makes changes of allowed IPs, and removals of peers, known to the data plane. */
  commit(): void {
    this.#allowedIps.commit();
    this.#driver.prepareSoon();
  }

  // The side channel.

  /** An address to send to, directly, or as the member `relayPeer` of the relay that is there. */
  endpoint(remote: Endpoint, relayPeer = 0): SocketEndpoint {
    return this.#engine.endpoint(remote, relayPeer);
  }

  /** Accepts relay frames from these addresses only, at most two. */
  setRelays(relays: readonly Endpoint[]): void {
    if (!this.#driver.isDetached) this.#engine.setRelays(relays);
  }

  /**
   * Sends a datagram through the device's socket, once; in a relay frame if `to` says so. What becomes of it nobody
   * knows. To answer, `to` is where something came from: the answer leaves from the address that was written to.
   *
   * @param bytes at most MAX_SIDE_CHANNEL; they are copied
   * @param hops how many routers it may pass, the one that drops it included; the system's limit unless given
   */
  sendSideChannel(bytes: Uint8Array, to: SocketEndpoint, hops?: number): void {
    if (bytes.length > MAX_SIDE_CHANNEL) throw new RangeError(`a datagram of ${bytes.length} bytes`);
    if (!this.#driver.isDetached) this.#engine.sendDatagram(bytes, to, hops);
  }

  // What the kernel says of the device, and of the network that its socket is in.

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

  /** The TUN device is gone, and with it the data plane, or soon: there is nobody who would hear what is told it. */
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

/** In place of a public key where there is none. */
const NONE = new Uint8Array(32);
