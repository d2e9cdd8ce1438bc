import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { until } from '../../../tests/kit/wait.js';
import { OPCODE } from '../../protocol/websocket.js';
import type { Pace } from '../machine/session.js';
import { HubWebSocket } from './web-socket.js';

/** A TCP connection whose peer reads nothing. */
class Deaf extends Duplex {
  override _read(): void {}
  override _write(): void {} // never completes
}

/** One-byte frames, masked with zeros. */
const frames = (opcode: number, count: number): Buffer =>
  Buffer.concat(
    Array.from({ length: count }, (_, i) => Buffer.of(0x80 | opcode, 0x81, 0, 0, 0, 0, i & 0xff)),
  );

interface Scene {
  readonly stream: Deaf;
  readonly socket: HubWebSocket;
  readonly seen: { messages: number; heard: number; flooded: boolean; failed: number };
}

function scene(pace: Partial<Pace>): Scene {
  const stream = new Deaf();
  const seen = { messages: 0, heard: 0, flooded: false, failed: 0 };
  const socket = new HubWebSocket(
    stream,
    { longest: 100, rate: 1e6, burst: 1e6, patience: true, ...pace },
    {
      handle: () => void seen.messages++,
      heard: () => void seen.heard++,
      failed: () => void seen.failed++,
      flooded: () => {
        seen.flooded = true;
        stream.destroy();
      },
      closed: () => {},
    },
  );
  return { stream, socket, seen };
}

test('connections take turns', async () => {
  const one = scene({});
  const other = scene({});
  one.socket.start(frames(OPCODE.binary, 1000));
  const first = one.seen.messages;
  assert.ok(first > 0 && first < 100, `${first} at once`);
  other.socket.start(frames(OPCODE.binary, 1));
  assert.equal(other.seen.messages, 1);
  assert.ok(one.stream.isPaused(), 'TCP holds back the rest');
  await turn();
  assert.ok(one.seen.messages <= 2 * first);
  await until('all messages to be handled', () => one.seen.messages === 1000);
  assert.ok(!one.stream.isPaused());
});

for (const [what, opcode] of Object.entries({
  messages: OPCODE.binary,
  pings: OPCODE.ping,
  pongs: OPCODE.pong,
})) {
  test(`${what} above the pace wait, or end the connection of a stranger`, async () => {
    const slow = { rate: 1e-6, burst: 20 };
    const patient = scene({ ...slow, patience: true });
    patient.socket.start(frames(opcode, 1000));
    for (let i = 0; i < 20; i++) await turn();
    assert.equal(patient.seen.messages + patient.seen.heard, 21, 'the last message on credit');
    assert.ok(patient.stream.isPaused());
    patient.stream.destroy();
    const strict = scene({ ...slow, patience: false });
    strict.socket.start(frames(opcode, 1000));
    assert.equal(strict.seen.messages + strict.seen.heard, 20);
    assert.ok(strict.seen.flooded);
  });
}

test('few pongs are kept for a client that pings and does not read', async () => {
  const { stream, socket, seen } = scene({});
  socket.start(frames(OPCODE.ping, 50_000));
  await until('all pings to be read', () => seen.heard === 50_000);
  assert.ok(stream.writableLength < 20_000, `${stream.writableLength} bytes wait`);
  assert.ok(stream.writableLength > 1_000, 'the first pings were answered');
});

test('an invalid frame is reported once, and nothing after it is read', () => {
  const { stream, socket, seen } = scene({});
  socket.start(Buffer.concat([frames(OPCODE.text, 1), frames(OPCODE.binary, 10)]));
  stream.push(frames(OPCODE.binary, 10));
  assert.deepEqual(seen, { messages: 0, heard: 0, flooded: false, failed: 1 });
  assert.ok(stream.writableEnded);
});

test('unread data of a disconnected client is not processed', async () => {
  const { stream, socket, seen } = scene({ rate: 1e-6, burst: 20, patience: false });
  socket.start(Buffer.alloc(0));
  stream.pause();
  for (let i = 0; i < 3; i++) stream.push(frames(OPCODE.ping, 30));
  stream.resume();
  await until('the connection to close', () => stream.closed);
  assert.equal(seen.heard, 20);
});
