import assert from 'node:assert/strict';
import { type Aead, loadAead } from '../../src/crypto/aead.js';
import { createChecksum } from '../../src/ip/checksum-wasm.js';
import { Coalescer } from '../../src/ip/coalesce.js';
import type { Endpoint } from '../../src/ip/endpoint.js';
import { PrefixLookup, PrefixTable } from '../../src/ip/prefix-table.js';
import { Segmenter } from '../../src/ip/segment.js';
import { libc } from '../../src/linux/ffi/libc.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import {
  AF,
  readSocketAddress,
  SOCKADDR_IN6,
  writeSocketAddress,
} from '../../src/linux/net/socket-address.js';
import { canSendSegments, receiveSegments, reconnect, UdpSocket } from '../../src/linux/net/udp.js';
import { bootTime } from '../../src/linux/process/clock.js';
import { Waker } from '../../src/linux/threads/poll.js';
import { SharedRing } from '../../src/linux/threads/shared-ring.js';
import { ENDPOINT } from '../../src/packets/udp-batch.js';
import { makeArena } from '../../src/tunnel/arena.js';
import { TUNNEL_DROP } from '../../src/tunnel/drops.js';
import { Inbound } from '../../src/tunnel/inbound.js';
import { REPORT_RECORD, REPORTS, WAKE_UP_RECORD } from '../../src/tunnel/messages.js';
import { Outbound } from '../../src/tunnel/outbound.js';
import { type PeerState, Peers } from '../../src/tunnel/peers.js';
import { Rows } from '../../src/tunnel/rows.js';
import { WorkerContext } from '../../src/tunnel/worker-context.js';
import { resetActivity } from '../../src/wireguard/activity.js';
import { DropCounters } from '../../src/wireguard/drops.js';
import { makeKeypair } from '../../src/wireguard/keypair.js';
import type { PeerNumber, ReceiverIndex } from '../../src/wireguard/numbers.js';

const LOCALHOST = Uint8Array.of(127, 0, 0, 1);
const ROOM = 65_536;
const BUFFER = 8 << 20;
/** MSG_DONTWAIT is not needed: all sockets are non-blocking. */
const NO_FLAGS = 0;

export interface DataPlaneOptions {
  /** Default: the fastest one on this machine. */
  readonly aead?: Aead;
  /** Puts the peer behind a relay, under this number. The relay is the tunnel's own socket as well. */
  readonly relayPeer?: number;
  /** See `WorkerContext`. */
  readonly sideChannel?: boolean;
  readonly followsPeers?: boolean;
  /** Whether the socket reports the local address that a datagram was sent to. Default: no. */
  readonly seesDestinations?: boolean;
}

/** A report to the control plane: its `REPORT` kind, the sender and the datagram. */
export interface DataPlaneReport {
  readonly report: number;
  readonly port: number;
  readonly relayPeer: number;
  readonly datagram: Uint8Array;
}

/**
 * Both directions of a tunnel on the calling thread. Its peer is itself, so a packet given to it as from the TUN device
 * comes back as for the TUN device. A pair of UDP sockets, which preserve packet boundaries, stands in for the device;
 * the tunnel's socket is real. Needs no privileges.
 */
export class DataPlane {
  readonly context: WorkerContext;
  readonly drops = new DropCounters(TUNNEL_DROP);
  readonly #outbound: Outbound;
  readonly #inbound: Inbound;
  readonly #sockets: readonly UdpSocket[];
  readonly #device: UdpSocket;
  readonly #room = allocate(ROOM);
  readonly #peer: PeerState;
  readonly #peers: Peers;
  readonly #rows: Rows;
  readonly #table = new PrefixTable();
  /** The `ENDPOINT` record of the tunnel's own socket. */
  readonly #ownEndpoint: Uint8Array;

  readonly #reports = new SharedRing(REPORT_RECORD.size, REPORTS);
  /** The tunnel's UDP port on 127.0.0.1. */
  readonly port: number;

  constructor({ aead = loadAead(), relayPeer = 0, seesDestinations, ...options }: DataPlaneOptions = {}) {
    this.#sockets = [UdpSocket.open(0), UdpSocket.open(0), UdpSocket.open(0)];
    const [tun, device, udp] = this.#sockets as [UdpSocket, UdpSocket, UdpSocket];
    for (const socket of this.#sockets) socket.setBuffers(BUFFER);
    this.#device = device;
    const address = allocate(ENDPOINT.size);
    const write = (to: UdpSocket): number =>
      writeSocketAddress(address.view, 0, to.family, { address: LOCALHOST, port: to.port });
    assert.equal(reconnect(tun.fd, address.address, write(device)), 0);
    assert.equal(reconnect(device.fd, address.address, write(tun)), 0);

    const rows = new Rows();
    const peers = new Peers(rows);
    this.context = new WorkerContext(
      { ...options, tunFd: tun.fd, mtu: 1420, offloads: { virtioHeader: true, tcp: true, udp: true } },
      { peers, rows, drops: this.drops },
      {
        reports: this.#reports,
        wakeUps: new SharedRing(WAKE_UP_RECORD.size, 16),
        waker: new Waker(),
      },
    );
    this.context.up = true;
    this.context.udpFd = udp.fd;
    assert.ok(receiveSegments(udp.fd));
    if (seesDestinations) udp.reportDestinations();

    const arena = makeArena();
    const { sum } = createChecksum(arena.bytes, arena.memory);
    this.#outbound = new Outbound(this.context, aead, arena, new Segmenter(arena, sum));
    assert.ok(canSendSegments(udp.fd));
    this.#outbound.sendsRuns = true;
    this.#inbound = new Inbound(
      this.context,
      aead,
      arena,
      new Coalescer(arena, sum, { tcp: true, udp: true }),
    );

    this.port = udp.port;
    address.view.setUint32(ENDPOINT.nameLength, write(udp), true);
    if (relayPeer !== 0) this.#inbound.setRelay(0, address.bytes, 0);
    address.view.setUint32(ENDPOINT.relayPeer, relayPeer, true);
    this.#peers = peers;
    this.#rows = rows;
    this.#ownEndpoint = Uint8Array.from(address.bytes);
    this.#peer = this.#add(0);
    this.beginSession(0);
    this.#table.insert(Uint8Array.of(10, 0, 0, 0), 8, 0);
    this.#table.insert(new Uint8Array(16), 0, 0);
    this.#compile();
  }

  /**
   * Adds another peer without a session, at the tunnel's own socket as well. Packets are sent to it at 10.0.1.`id`
   * and come back from 10.0.0.`id`.
   *
   * @param id 2 to 255
   * @param at another IPv4 endpoint for it
   */
  addPeer(id: number, at?: Endpoint): void {
    const { endpoints, endpoint } = this.#add(id);
    if (at !== undefined) {
      const length = writeSocketAddress(endpoints.view, endpoint, this.#device.family, at);
      endpoints.view.setUint32(endpoint + ENDPOINT.nameLength, length, true);
    }
    for (const network of [0, 1]) this.#table.insert(Uint8Array.of(10, 0, network, id), 32, id);
    this.#compile();
  }

  /** Gives a peer a session with itself, and sends the packets that wait for it. */
  beginSession(id: number): void {
    const peer = this.#get(id);
    const index = (7 + id) as ReceiverIndex;
    this.#peers.beginSession(
      peer,
      makeKeypair(index, index, true, bootTime()),
      new Uint8Array(64).fill(9),
      0,
    );
    peer.current = this.#peers.session(index);
    this.#outbound.release(peer, false, bootTime());
  }

  /** The number of packets that wait for a peer's session. */
  waiting(id: number): number {
    return this.#get(id).waiting.length;
  }

  #get(id: number): PeerState {
    return this.#peers.get(id as PeerNumber)!;
  }

  #add(id: number): PeerState {
    const number = id as PeerNumber;
    this.#rows.grow(number);
    resetActivity(this.#rows.array(number), this.#rows.offset(number));
    this.#peers.add(number);
    const peer = this.#get(id);
    peer.endpoints.bytes.set(this.#ownEndpoint, peer.endpoint);
    return peer;
  }

  #compile(): void {
    this.#outbound.allowedIps = new PrefixLookup(this.#table.compile());
    this.#inbound.allowedIps = new PrefixLookup(this.#table.compile());
  }

  /** Whether it sends runs. Initially it does. */
  set sendsRuns(sendsRuns: boolean) {
    this.#outbound.sendsRuns = sendsRuns;
  }

  /** Gives it a packet with a `virtio_net_hdr` in front, as the TUN device would. */
  give(address: number, length: number): void {
    if (libc.write(this.#device.fd, address, length) !== length) throw new Error('the device is full');
  }

  /** Sends a batch, and receives everything that is on its way back. */
  turn(): void {
    this.turnOut();
    while (this.turnIn() > 0);
  }

  /** Sends a batch, or what remained when the socket was full. */
  turnOut(): void {
    this.#outbound.resume(bootTime());
    if (!this.#outbound.blocked) this.#outbound.fromTun(bootTime());
  }

  /** Whether the socket was found full. */
  get blocked(): boolean {
    return this.#outbound.blocked;
  }

  /** Receives one batch. @returns the number of datagrams or bundles; less than 1 if there are none */
  turnIn(): number {
    return this.#inbound.fromUdp(bootTime());
  }

  /** Takes the next packet for the TUN device, at `taken`. @returns its length with its header, or -1 for none */
  take(): number {
    return libc.recv(this.#device.fd, this.#room.address, ROOM, NO_FLAGS);
  }

  get taken(): Uint8Array {
    return this.#room.bytes;
  }

  /** Forgets where a peer is. */
  forgetEndpoint(id: number): void {
    const { endpoints, endpoint } = this.#get(id);
    endpoints.view.setUint32(endpoint + ENDPOINT.nameLength, 0, true);
  }

  /** The first peer: the tunnel itself. */
  get peer(): PeerState {
    return this.#peer;
  }

  /** Where the data plane sends to the first peer. */
  get endpoint(): { readonly port: number; readonly relayPeer: number } {
    const { endpoints, endpoint } = this.#peer;
    const { port } = readSocketAddress(endpoints.view, endpoint);
    return { port, relayPeer: endpoints.view.getUint32(endpoint + ENDPOINT.relayPeer, true) };
  }

  /** Sends to another port of 127.0.0.1 from now on. */
  set peerPort(port: number) {
    this.#peer.endpoints.view.setUint16(this.#peer.endpoint + SOCKADDR_IN6.port, port);
  }

  /** Moves the relay to a port of 127.0.0.1. @param index which of the relay's addresses to set */
  setRelayPort(port: number, index = 0): void {
    const record = allocate(ENDPOINT.size);
    const family = AF.inet6;
    const length = writeSocketAddress(record.view, 0, family, { address: LOCALHOST, port });
    record.view.setUint32(ENDPOINT.nameLength, length, true);
    this.#inbound.setRelay(index, record.bytes, 0);
  }

  /** The number of reports for the control plane. */
  get reports(): number {
    return this.#reports.pending;
  }

  /** Takes the next report for the control plane. */
  report(): DataPlaneReport | undefined {
    const at = this.#reports.peek();
    if (at < 0) return undefined;
    const { view, bytes } = this.#reports;
    const endpoint = at + REPORT_RECORD.endpoint;
    const datagram = at + REPORT_RECORD.datagram;
    const report = {
      report: view.getUint32(at + REPORT_RECORD.report, true),
      port: readSocketAddress(view, endpoint).port,
      relayPeer: view.getUint32(endpoint + ENDPOINT.relayPeer, true),
      datagram: bytes.slice(datagram, datagram + view.getUint32(at + REPORT_RECORD.length, true)),
    };
    this.#reports.release();
    return report;
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }
}
