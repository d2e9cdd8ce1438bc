import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { refuseToSend, type SentMessage } from '../../../tests/kit/refusing-kernel.js';
import { ERRNO } from '../../linux/ffi/errno.js';
import { allocate } from '../../linux/ffi/memory.js';
import { writeSocketAddress } from '../../linux/net/socket-address.js';
import { canSendSegments, UdpSocket } from '../../linux/net/udp.js';
import { ENDPOINT, ReceiveBatch } from '../../packets/udp-batch.js';
import { RELAY_FRAME } from '../../protocol/relay.js';
import { Counters, sumCounters } from './counters.js';
import { Sender } from './sender.js';

const SIZE = 500;
const PAYLOAD = SIZE - RELAY_FRAME.payload;

/** A sender, two members, and a kernel that refuses datagrams by `rule`. */
function setUp(t: TestContext, rule: (message: SentMessage) => number) {
  const [socket, ...members] = [UdpSocket.open(0), UdpSocket.open(0), UdpSocket.open(0)] as const;
  t.after(() => [socket, ...members].map((one) => one.close()));
  for (const one of [socket, ...members]) one.setBuffers(4 << 20);
  assert.ok(canSendSegments(socket.fd));
  const endpoints = allocate(members.length * ENDPOINT.size);
  for (const [row, { port }] of members.entries()) {
    const remote = { address: Uint8Array.of(127, 0, 0, 1), port };
    const at = row * ENDPOINT.size;
    const length = writeSocketAddress(endpoints.view, at, socket.family, remote);
    endpoints.view.setUint32(at + ENDPOINT.nameLength, length, true);
  }
  const attempts = refuseToSend(t, rule);
  const counters = new Counters();
  const sender = new Sender(socket.fd, endpoints, counters, true);
  const memory = allocate(2048 * SIZE);
  const batch = new ReceiveBatch(64);
  return {
    attempts,
    ports: members.map(({ port }) => port),
    /** Sends frames to the members in turn, `perRun` at a time. */
    send(frames: number, perRun: number): void {
      for (let i = 0; i < frames; i++) sender.add(Math.floor(i / perRun) % 2, memory, i * SIZE, SIZE, 0);
      sender.flush();
    },
    /** How many frames each member has received. */
    received: () =>
      members.map(({ fd }) => {
        let came = 0;
        for (let count = 1; count > 0; came += Math.max(count, 0)) count = batch.receive(fd);
        return came;
      }),
    /** The counters of sent and dropped frames. */
    counted() {
      const { out, dropped } = sumCounters([counters]);
      return { ...out.udp, dropped };
    },
  };
}

const sent = (frames: number) => ({ frames, bytes: frames * PAYLOAD });

test('a size that a path refuses as a run is sent frame by frame without loss', (t) => {
  const { attempts, send, received, counted } = setUp(t, ({ segmentSize }) =>
    segmentSize === undefined ? 0 : ERRNO.EMSGSIZE,
  );
  for (const expected of [true, false]) {
    send(40, 10);
    assert.deepEqual(received(), [20, 20]);
    assert.equal(
      attempts.splice(0).some(({ errno }) => errno !== 0),
      expected,
    );
  }
  assert.deepEqual(counted(), { ...sent(80), dropped: {} });
});

test('more frames than fit one call are all sent', (t) => {
  const { send, received, counted } = setUp(t, () => 0);
  send(1500, 1);
  assert.deepEqual(received(), [750, 750]);
  assert.deepEqual(counted(), { ...sent(1500), dropped: {} });
});

for (const [name, errno, reason] of [
  ['has no room for', ERRNO.ENOBUFS, 'congested'],
  ['finds too large', ERRNO.EMSGSIZE, 'too-big'],
  ['has no route for', ERRNO.EHOSTUNREACH, 'unreachable'],
] as const) {
  test(`frames that the kernel ${name} count as ${reason}, not as sent; others are sent`, (t) => {
    const { ports, send, received, counted } = setUp(t, ({ port }) => (port === ports[0] ? errno : 0));
    send(40, 7);
    assert.deepEqual(received(), [0, 19]);
    assert.deepEqual(counted(), { ...sent(19), dropped: { [reason]: 21 } });
  });
}

test('the sender waits for a full socket', (t) => {
  let refusals = 1;
  const { send, received, counted } = setUp(t, () => (refusals-- > 0 ? ERRNO.EAGAIN : 0));
  send(20, 10);
  assert.deepEqual(received(), [10, 10]);
  assert.deepEqual(counted(), { ...sent(20), dropped: {} });
});

test('frames are dropped when the socket is full for too long', (t) => {
  const { send, counted } = setUp(t, () => ERRNO.EAGAIN);
  send(20, 10);
  assert.deepEqual(counted(), { ...sent(0), dropped: { congested: 20 } });
});
