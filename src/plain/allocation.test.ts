import assert from 'node:assert/strict';
import { once } from 'node:events';
import { PerformanceObserver } from 'node:perf_hooks';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { makeSuperPacket } from '../../tests/kit/packets.js';
import { createChecksum } from '../ip/checksum-wasm.js';
import { createCopy } from '../ip/copy-wasm.js';
import { libc } from '../linux/ffi/libc.js';
import { allocate, allocateArena } from '../linux/ffi/memory.js';
import { writeSocketAddress } from '../linux/net/socket-address.js';
import { canSendSegments, receiveSegments, reconnect, UdpSocket } from '../linux/net/udp.js';
import { Poller, Waker } from '../linux/threads/poll.js';
import { Client } from './client.js';
import { SharedState } from './shared.js';
import { TUNNEL_MEMORY, Tunnel, type TunnelFds } from './tunnel.js';

/** One minimal object for each of this many packets would cause 16 more collections. */
const PACKETS = 500_000;
/** Calls of C allocate a number or two each. There are few calls, because each moves 47 packets. */
const ALLOWANCE = 4;

const SEGMENT = 1368;
/** As many segments as fit a datagram, which replaces a TUN device's packet here. */
const SEGMENTS = 47;

const LOCALHOST = Uint8Array.of(127, 0, 0, 1);
const BUFFER = 4 << 20;

interface Job {
  readonly fds: TunnelFds;
  readonly family: number;
  readonly port: number;
  readonly state: SharedArrayBuffer;
}

if (isMainThread) {
  test('the plain tunnel allocates nothing except for calls of C', async (t) => {
    const sockets = [UdpSocket.open(0), UdpSocket.open(0), UdpSocket.open(0)];
    t.after(() => sockets.map((socket) => socket.close()));
    for (const socket of sockets) socket.setBuffers(BUFFER);
    // A pair of sockets replaces the device, because it also keeps packet boundaries. The client is its own server.
    const [tun, device, udp] = sockets as [UdpSocket, UdpSocket, UdpSocket];
    connect(tun, device);
    connect(device, tun);
    assert.ok(canSendSegments(udp.fd) && receiveSegments(udp.fd));
    const state = new SharedState();
    const waker = new Waker();
    t.after(() => waker.close());
    const worker = new Worker(new URL(import.meta.url), {
      // With a small young generation, every allocation soon causes a collection.
      resourceLimits: { maxYoungGenerationSizeMb: 3 },
      workerData: {
        fds: { tun: tun.fd, udp: udp.fd, wake: waker.fd },
        family: udp.family,
        port: udp.port,
        state: state.buffer,
      } satisfies Job,
    });
    await once(worker, 'message');
    pump(device, PACKETS / 5); // until it is optimized
    const from = performance.timeOrigin + performance.now();
    pump(device, PACKETS);
    const to = performance.timeOrigin + performance.now();
    state.stop();
    waker.wake();
    const [collections] = (await once(worker, 'message')) as [number[]];
    const counted = collections.filter((time) => time > from && time < to).length;
    t.diagnostic(`${counted} collections`);
    assert.ok(counted <= ALLOWANCE, `${counted} collections`);
  });
} else {
  const { fds, family, port, state } = workerData as Job;
  const memory = allocateArena(TUNNEL_MEMORY);
  const { sum } = createChecksum(memory.bytes, memory.memory);
  const copy = createCopy(memory.bytes, memory.memory);
  const device = { virtioHeader: true, tcp: true, udp: true };
  const shared = new SharedState(state);
  const client = new Client(fds.udp, family, [{ address: LOCALHOST, port }], shared.counters);
  const tunnel = new Tunnel(fds, client, shared, { memory, sum, copy, device, sendsRuns: true });
  const collections: number[] = [];
  const observer = new PerformanceObserver((list) => {
    for (const { startTime } of list.getEntries()) collections.push(performance.timeOrigin + startTime);
  });
  observer.observe({ entryTypes: ['gc'] });
  parentPort!.postMessage('ready');
  tunnel.run();
  await sleep(20);
  parentPort!.postMessage(collections);
}

function connect(from: UdpSocket, to: UdpSocket): void {
  const address = allocate(32);
  const length = writeSocketAddress(address.view, 0, from.family, { address: LOCALHOST, port: to.port });
  assert.equal(reconnect(from.fd, address.address, length), 0);
}

/** Sends this many packets of a stream through the tunnel and back, one large packet at a time. */
function pump(device: UdpSocket, packets: number): void {
  const room = allocate(65_536);
  const merged = makeSuperPacket({ protocol: 'tcp', payload: new Uint8Array(SEGMENT * SEGMENTS) }, SEGMENT);
  const poller = new Poller([device.fd]);
  for (let done = 0; done < packets; done += SEGMENTS) {
    room.bytes.set(merged);
    assert.equal(libc.write(device.fd, room.address, merged.length), merged.length);
    for (let received = 0; received < merged.length; ) {
      assert.ok(poller.wait(20_000), 'nothing returned');
      received += libc.read(device.fd, room.address, room.bytes.length);
    }
  }
}
