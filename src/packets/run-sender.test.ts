import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { refuseToSend, type SentMessage } from '../../tests/kit/refusing-kernel.js';
import { ERRNO } from '../linux/ffi/errno.js';
import { allocate } from '../linux/ffi/memory.js';
import { writeSocketAddress } from '../linux/net/socket-address.js';
import { canSendSegments, UdpSocket } from '../linux/net/udp.js';
import { RunSender } from './run-sender.js';
import { ENDPOINT, ReceiveBatch } from './udp-batch.js';

const LOCALHOST = Uint8Array.of(127, 0, 0, 1);
/** Offsets of two receivers' records. */
const A = 0;
const B = ENDPOINT.size;

/** A sender, two receivers, and a kernel that refuses messages by `rule`. */
function setUp(t: TestContext, rule: (message: SentMessage) => number = () => 0) {
  const sockets = [UdpSocket.open(0), UdpSocket.open(0), UdpSocket.open(0)];
  t.after(() => sockets.map((socket) => socket.close()));
  const [socket, ...receivers] = sockets as [UdpSocket, UdpSocket, UdpSocket];
  assert.ok(canSendSegments(socket.fd));
  const endpoints = allocate(2 * ENDPOINT.size);
  const setEndpoint = (at: number, port: number): void => {
    const length = writeSocketAddress(endpoints.view, at, socket.family, { address: LOCALHOST, port });
    endpoints.view.setUint32(at + ENDPOINT.nameLength, length, true);
  };
  for (const [i, { port }] of receivers.entries()) setEndpoint(i * ENDPOINT.size, port);
  const attempts = refuseToSend(t, rule);
  const refusals: number[][] = [];
  const sender = new RunSender(true, (...refusal) => refusals.push(refusal));
  const memory = allocate(1 << 17);
  let end = 0;
  let number = 0;
  return {
    ...{ attempts, refusals, sender, endpoints, setEndpoint },
    ports: receivers.map(({ port }) => port) as [number, number],
    /** Adds datagrams. Each is filled with its number, from 0. */
    add(to: number, sizes: readonly number[], trafficClass = 0): void {
      for (const size of sizes) {
        memory.bytes.fill(number++, end, end + size);
        sender.add(memory, end, size, endpoints, to, trafficClass);
        end += size;
      }
    },
    flush: () => sender.flush(socket.fd),
    /** The messages to the kernel since the last call: sizes, runs as `count x size`, and errnos. */
    tried(): string[] {
      return attempts.splice(0).map(({ length, segmentSize, errno }) => {
        const what = segmentSize === undefined ? `${length}` : `${length / segmentSize} x ${segmentSize}`;
        return errno === 0 ? what : `${what}: ${errno}`;
      });
    },
    /** The numbers and sizes of the received datagrams. */
    received(which: 0 | 1): [number: number, size: number][] {
      const batch = new ReceiveBatch(64);
      const came: [number, number][] = [];
      for (let count = 1; count > 0; ) {
        count = batch.receive(receivers[which]!.fd);
        for (let slot = 0; slot < count; slot++) {
          const bytes = batch.memory.bytes.subarray(
            batch.offset(slot),
            batch.offset(slot) + batch.length(slot),
          );
          assert.ok(bytes.every((byte) => byte === bytes[0]));
          came.push([bytes[0]!, bytes.length]);
        }
      }
      return came;
    },
  };
}

const isRun = ({ segmentSize }: SentMessage): boolean => segmentSize !== undefined;
const times = (count: number, size: number): number[] => new Array<number>(count).fill(size);

test('datagrams of one size to one endpoint are sent as a run; a shorter one ends it', (t) => {
  const { add, flush, tried, received } = setUp(t);
  add(A, [...times(4, 100), 60, 60, 100]);
  add(B, [100, 100]);
  add(B, [100], 2);
  assert.equal(flush(), false);
  assert.deepEqual(tried(), ['4.6 x 100', '60', '100', '2 x 100', '100']);
  const sizes = [...times(4, 100), 60, 60, 100];
  assert.deepEqual(
    received(0),
    sizes.map((size, i) => [i, size]),
  );
  assert.deepEqual(received(1), [
    [7, 100],
    [8, 100],
    [9, 100],
  ]);
});

test('datagrams with a gap between them are not a run', (t) => {
  const { sender, endpoints, flush, tried } = setUp(t);
  const [memory, other] = [allocate(1000), allocate(1000)];
  for (const [where, at] of [
    [memory, 0],
    [memory, 100],
    [memory, 300],
    [other, 400],
    [other, 500],
  ] as const) {
    sender.add(where, at, 100, endpoints, A, 0);
  }
  flush();
  assert.deepEqual(tried(), ['2 x 100', '100', '2 x 100']);
});

test('a run has at most 64 datagrams and 65440 bytes', (t) => {
  const { add, flush, tried } = setUp(t);
  add(A, times(65, 10));
  flush();
  assert.deepEqual(tried(), ['64 x 10', '10']);
  add(A, times(4, 20_000));
  flush();
  assert.deepEqual(tried(), ['3 x 20000', '20000']);
});

test('datagrams of a size that a path refused are sent singly, on that path only; smaller ones still form runs', (t) => {
  const { add, flush, tried, refusals, received, ports } = setUp(t, ({ port, segmentSize = 0 }) =>
    port === ports[0] && segmentSize >= 1000 ? ERRNO.EMSGSIZE : 0,
  );
  add(A, times(3, 1000));
  assert.equal(flush(), false);
  const refused = `3 x 1000: ${ERRNO.EMSGSIZE}`;
  assert.deepEqual(tried(), [refused, refused, '1000', '1000', '1000']);
  add(A, times(3, 1200));
  add(A, times(3, 999));
  add(B, times(3, 1200));
  flush();
  assert.deepEqual(tried(), ['1200', '1200', '1200', '3 x 999', '3 x 1200']);
  assert.deepEqual(
    received(0).map(([number]) => number),
    [0, 1, 2, 3, 4, 5, 6, 7, 8],
  );
  assert.equal(received(1).length, 3);
  assert.deepEqual(refusals, []);
});

test('a run is tried again after many datagrams, because the path MTU may have grown', (t) => {
  let errno: number = ERRNO.EMSGSIZE;
  const { add, flush, tried, endpoints } = setUp(t, (message) => (isRun(message) ? errno : 0));
  add(A, times(2, 500));
  flush();
  assert.equal(endpoints.view.getUint16(A + ENDPOINT.aloneLeft, true), 65_535);
  endpoints.view.setUint16(A + ENDPOINT.aloneLeft, 3, true);
  errno = 0;
  tried();
  add(A, times(5, 500));
  flush();
  assert.deepEqual(tried(), ['500', '500', '500', '2 x 500']);
});

test('a path without checksum offload gets no runs of any size', (t) => {
  const { add, flush, tried, received, refusals } = setUp(t, (message) => (isRun(message) ? ERRNO.EIO : 0));
  add(A, [...times(2, 500), 100]);
  add(A, times(2, 40)); // a run in the same batch
  flush();
  tried();
  add(A, times(2, 40));
  flush();
  assert.deepEqual(tried(), ['40', '40']);
  assert.deepEqual(
    received(0),
    [500, 500, 100, 40, 40, 40, 40].map((size, i) => [i, size]),
  );
  assert.deepEqual(refusals, []);
});

test('a message is lost at once if the device queue is full, and the next one is sent', (t) => {
  let full = 2;
  const { add, flush, tried, received, refusals } = setUp(t, () => (full-- > 0 ? ERRNO.ENOBUFS : 0));
  add(A, [...times(3, 500), 100]);
  add(A, [50]);
  add(B, [70]);
  assert.equal(flush(), false);
  assert.deepEqual(tried(), [`3.2 x 500: ${ERRNO.ENOBUFS}`, `50: ${ERRNO.ENOBUFS}`, '70']);
  assert.deepEqual(refusals, [
    [ERRNO.ENOBUFS, 4, 1600],
    [ERRNO.ENOBUFS, 1, 50],
  ]);
  assert.deepEqual(received(0), []);
  assert.deepEqual(received(1), [[5, 70]]);
});

test('a datagram that is too large is lost, and the next one is sent', (t) => {
  const { add, flush, received, refusals } = setUp(t, ({ length }) => (length > 1000 ? ERRNO.EMSGSIZE : 0));
  add(A, [1200, 1300, 20]);
  assert.equal(flush(), false);
  const lost = (size: number) => [
    [ERRNO.EMSGSIZE, 0, 0],
    [ERRNO.EMSGSIZE, 1, size],
  ];
  assert.deepEqual(refusals, [...lost(1200), ...lost(1300)]);
  assert.deepEqual(received(0), [[2, 20]]);
});

test('an error about an earlier datagram is reported and loses nothing', (t) => {
  let errors = 1;
  const { add, flush, received, refusals } = setUp(t, () => (errors-- > 0 ? ERRNO.ECONNREFUSED : 0));
  add(A, [10]);
  assert.equal(flush(), false);
  assert.deepEqual(refusals, [[ERRNO.ECONNREFUSED, 0, 0]]);
  assert.deepEqual(received(0), [[0, 10]]);
});

test('datagrams wait in order while the socket is full, and go to their original receiver', (t) => {
  let room = 0;
  const { add, flush, sender, received, refusals, setEndpoint, ports } = setUp(t, (message) => {
    if (isRun(message)) return ERRNO.EMSGSIZE;
    return room-- > 0 ? 0 : ERRNO.EAGAIN;
  });
  add(A, times(3, 500)); // one is sent, then the socket is full
  room = 1;
  add(A, [30]);
  assert.equal(flush(), true);
  assert.equal(sender.pending, 3);
  setEndpoint(A, ports[1]); // the receiver has moved
  add(A, [40]);
  room = 2;
  assert.equal(flush(), true);
  room = 10;
  assert.equal(flush(), false);
  assert.deepEqual(received(0), [
    [0, 500],
    [1, 500],
    [2, 500],
    [3, 30],
  ]);
  assert.deepEqual(received(1), [[4, 40]]);
  assert.deepEqual(refusals, []);
});

test('waiting datagrams can be dropped', (t) => {
  const { add, flush, sender, refusals } = setUp(t, () => ERRNO.EAGAIN);
  add(A, times(3, 500));
  add(A, [30]);
  assert.equal(flush(), true);
  sender.dropAll(ERRNO.EAGAIN);
  assert.deepEqual(refusals, [[ERRNO.EAGAIN, 4, 1530]]);
  assert.equal(sender.pending, 0);
  assert.equal(flush(), false);
});
