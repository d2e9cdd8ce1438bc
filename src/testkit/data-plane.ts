import assert from 'node:assert/strict';
import { createChecksum } from '../ip/checksum-wasm.js';
import { Coalescer } from '../ip/coalesce.js';
import { PrefixLookup, PrefixTable } from '../ip/prefix-table.js';
import { Segmenter } from '../ip/segment.js';
import { type Aead, loadAead } from '../linux/aead.js';
import { bootTime } from '../linux/clock.js';
import { libc } from '../linux/libc.js';
import { allocate } from '../linux/memory.js';
import { Waker } from '../linux/poll.js';
import { SharedRing } from '../linux/shared-ring.js';
import { writeSocketAddress } from '../linux/socket-address.js';
import { canSendSegments, receiveSegments, reconnect, UdpSocket } from '../linux/udp.js';
import { ENDPOINT } from '../linux/udp-batch.js';
import { makeArena } from '../tunnel/arena.js';
import { Inbound } from '../tunnel/inbound.js';
import { LOOK_RECORD, REPORT_RECORD } from '../tunnel/messages.js';
import { Outbound } from '../tunnel/outbound.js';
import { Peers } from '../tunnel/peers.js';
import { Rows } from '../tunnel/rows.js';
import { SharedDrops } from '../tunnel/shared-drops.js';
import { WorkerContext } from '../tunnel/worker-context.js';
import { resetActivity } from '../wireguard/activity.js';
import { makeKeypair } from '../wireguard/keypair.js';

const LOCALHOST = Uint8Array.of(127, 0, 0, 1);
const ROOM = 65_536;
const BUFFER = 8 << 20;
/** MSG_DONTWAIT is not needed: no socket of ours blocks. */
const NO_FLAGS = 0;

/**
 * Both directions of a tunnel on the calling thread, with itself as its only peer: what it is given as from the TUN
 * device comes back as for the TUN device. In the device's place is a pair of UDP sockets, that keep packets apart as a
 * device does; the socket of the tunnel is a real one. So it needs no privilege.
 */
export class DataPlane {
  readonly context: WorkerContext;
  readonly drops = new SharedDrops();
  readonly #outbound: Outbound;
  readonly #inbound: Inbound;
  readonly #sockets: readonly UdpSocket[];
  readonly #device: UdpSocket;
  readonly #room = allocate(ROOM);

  /** @param aead does the cryptography; the best there is without it */
  constructor(aead: Aead = loadAead()) {
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
    rows.grow(0);
    resetActivity(rows.array(0), rows.offset(0));
    const peers = new Peers(rows);
    this.context = new WorkerContext(
      { tunFd: tun.fd, mtu: 1420, offloads: { virtioHeader: true, tcp: true, udp: true } },
      { peers, rows, drops: this.drops },
      {
        reports: new SharedRing(REPORT_RECORD.size, 16),
        looks: new SharedRing(LOOK_RECORD.size, 16),
        waker: new Waker(),
      },
    );
    this.context.up = true;
    this.context.udpFd = udp.fd;
    assert.ok(receiveSegments(udp.fd));
    this.context.sendsSegments = canSendSegments(udp.fd);

    const arena = makeArena();
    const { sum } = createChecksum(arena.bytes, arena.memory);
    this.#outbound = new Outbound(this.context, aead, arena, new Segmenter(arena, sum));
    this.#inbound = new Inbound(
      this.context,
      aead,
      arena,
      new Coalescer(arena, sum, { tcp: true, udp: true }),
    );

    peers.add(0);
    const peer = peers.get(0)!;
    const length = write(udp);
    peer.endpoints.bytes.set(address.bytes.subarray(0, length), peer.endpoint);
    peer.endpoints.view.setUint32(peer.endpoint + ENDPOINT.nameLength, length, true);
    peers.beginSession(peer, makeKeypair(7, 7, true, bootTime()), new Uint8Array(64).fill(9), 0);
    peer.current = peers.session(7);
    const table = new PrefixTable();
    table.insert(Uint8Array.of(10, 0, 0, 0), 8, 0);
    table.insert(new Uint8Array(16), 0, 0);
    this.#outbound.allowedIps = new PrefixLookup(table.compile());
    this.#inbound.allowedIps = new PrefixLookup(table.compile());
  }

  /** Gives it a packet, behind its `virtio_net_hdr`, as the device would. */
  give(address: number, length: number): void {
    if (libc.write(this.#device.fd, address, length) !== length) throw new Error('no room in the device');
  }

  /** Lets everything go out, and come in again. */
  turn(): void {
    const now = bootTime();
    this.#outbound.fromTun(now);
    this.#inbound.fromUdp(now);
  }

  /** What it has for the device: the length of the next packet with its header, at `taken`; -1 when there is none. */
  take(): number {
    return libc.recv(this.#device.fd, this.#room.address, ROOM, NO_FLAGS);
  }

  get taken(): Uint8Array {
    return this.#room.bytes;
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }
}
