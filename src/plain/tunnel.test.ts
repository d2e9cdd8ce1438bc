import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { makeSuperPacket } from '../../tests/kit/packets.js';
import { refuseToSend, type SentMessage } from '../../tests/kit/refusing-kernel.js';
import { createChecksum } from '../ip/checksum-wasm.js';
import { createCopy } from '../ip/copy-wasm.js';
import { ERRNO } from '../linux/ffi/errno.js';
import { libc } from '../linux/ffi/libc.js';
import { allocate, allocateArena } from '../linux/ffi/memory.js';
import { writeSocketAddress } from '../linux/net/socket-address.js';
import { reconnect, UdpSocket } from '../linux/net/udp.js';
import { Waker } from '../linux/threads/poll.js';
import { ReceiveBatch } from '../packets/udp-batch.js';
import { Client } from './client.js';
import { COUNT, dropCounter, SharedState } from './shared.js';
import { TUNNEL_MEMORY, Tunnel } from './tunnel.js';
import { PACKET } from './wire.js';

const LOCALHOST = Uint8Array.of(127, 0, 0, 1);
const SEGMENT = 1000;
const SEGMENTS = 40;
/** The length of a segment's IP packet. */
const LENGTH = 40 + SEGMENT;

/**
 * A client's tunnel on this thread, with a pair of sockets as its device, and a kernel that refuses messages by `rule`.
 */
function setUp(t: TestContext, rule: (message: SentMessage) => number) {
  const sockets = Array.from({ length: 4 }, () => UdpSocket.open(0));
  const [tun, device, udp, server] = sockets as [UdpSocket, UdpSocket, UdpSocket, UdpSocket];
  t.after(() => sockets.map((socket) => socket.close()));
  for (const socket of sockets) socket.setBuffers(4 << 20);
  const waker = new Waker();
  t.after(() => waker.close());
  connect(tun, device);
  connect(device, tun);

  const memory = allocateArena(TUNNEL_MEMORY);
  const { sum } = createChecksum(memory.bytes, memory.memory);
  const copy = createCopy(memory.bytes, memory.memory);
  const state = new SharedState();
  const client = new Client(udp.fd, udp.family, [{ address: LOCALHOST, port: server.port }], state.counters);
  const tunnel = new Tunnel({ tun: tun.fd, udp: udp.fd, wake: waker.fd }, client, state, {
    ...{ memory, sum, copy, sendsRuns: true },
    device: { virtioHeader: true, tcp: true, udp: true },
  });
  const attempts = refuseToSend(t, rule);

  const packet = makeSuperPacket({ protocol: 'tcp', payload: new Uint8Array(SEGMENTS * SEGMENT) }, SEGMENT);
  const room = allocate(packet.length);
  room.bytes.set(packet);
  const batch = new ReceiveBatch(64);
  return {
    attempts,
    counters: state.counters,
    turn: () => assert.equal(tunnel.turn(), undefined),
    /** Gives the device one large packet of `SEGMENTS` segments. */
    give: () => assert.equal(libc.write(device.fd, room.address, packet.length), packet.length),
    /** How many datagrams the server received; all have one size. */
    received(): number {
      let came = 0;
      for (let count = 1; count > 0; came += Math.max(count, 0)) {
        count = batch.receive(server.fd);
        for (let slot = 0; slot < count; slot++) assert.equal(batch.length(slot), PACKET + LENGTH);
      }
      return came;
    },
  };
}

function connect(from: UdpSocket, to: UdpSocket): void {
  const address = allocate(32);
  const length = writeSocketAddress(address.view, 0, from.family, { address: LOCALHOST, port: to.port });
  assert.equal(reconnect(from.fd, address.address, length), 0);
}

test('datagrams of a size that the path refused as a run are sent singly, and nothing is lost', (t) => {
  const tunnel = setUp(t, ({ segmentSize }) => (segmentSize === undefined ? 0 : ERRNO.EMSGSIZE));
  for (const expected of [true, false]) {
    tunnel.give();
    tunnel.turn();
    assert.equal(tunnel.received(), SEGMENTS);
    assert.equal(
      tunnel.attempts.splice(0).some(({ errno }) => errno !== 0),
      expected,
    );
  }
  assert.equal(tunnel.counters[COUNT.packetsOut], 2 * SEGMENTS);
  assert.equal(tunnel.counters[COUNT.bytesOut], 2 * SEGMENTS * LENGTH);
  assert.equal(tunnel.counters[COUNT.errors + ERRNO.EMSGSIZE], 0);
});

for (const [name, errno, reason] of [
  ['has no room for', ERRNO.ENOBUFS, 'congested'],
  ['finds too large', ERRNO.EMSGSIZE, 'too-big'],
] as const) {
  test(`packets that the kernel ${name} are counted as ${reason}, and the next ones are sent`, (t) => {
    let refused: number = errno;
    const tunnel = setUp(t, () => refused);
    tunnel.give();
    tunnel.turn();
    assert.equal(tunnel.received(), 0);
    assert.equal(tunnel.counters[dropCounter(reason)], SEGMENTS);
    assert.equal(tunnel.counters[COUNT.packetsOut], 0);
    assert.equal(tunnel.counters[COUNT.bytesOut], 0);
    assert.ok(tunnel.counters[COUNT.errors + errno]! > 0);
    refused = 0;
    tunnel.give();
    tunnel.turn();
    assert.equal(tunnel.received(), SEGMENTS);
    assert.equal(tunnel.counters[COUNT.packetsOut], SEGMENTS);
  });
}

test('while the socket is full the device is not read, and no packet is lost', (t) => {
  let room = 0;
  const tunnel = setUp(t, () => (room-- > 0 ? 0 : ERRNO.EAGAIN));
  tunnel.give();
  tunnel.turn();
  tunnel.give();
  tunnel.turn(); // the socket is writable, but refuses again
  assert.equal(tunnel.received(), 0);
  room = Number.POSITIVE_INFINITY;
  tunnel.turn();
  assert.equal(tunnel.received(), SEGMENTS);
  tunnel.turn();
  assert.equal(tunnel.received(), SEGMENTS);
  assert.equal(tunnel.counters[COUNT.packetsOut], 2 * SEGMENTS);
});
