import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { closeFrame, frameHeader, OPCODE, smallFrame, WebSocketReader } from './websocket.js';

interface FramePlan {
  readonly opcode: number;
  readonly payload: Uint8Array;
  readonly final?: boolean;
  readonly mask?: Uint8Array | undefined;
  readonly reserved?: number;
}

const MASK = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d); // RFC 6455 §5.7

/** A client's frame. */
function frame({ opcode, payload, final = true, mask = MASK, reserved = 0 }: FramePlan): Uint8Array {
  const header = frameHeader(opcode, payload.length);
  header[0] = (final ? 0x80 : 0) | reserved | opcode;
  header[1]! |= 0x80;
  return join([header, mask, payload.map((byte, i) => byte ^ mask[i & 3]!)]);
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

type Seen = { readonly kind: string; readonly bytes?: Uint8Array; readonly code?: number };

/** The events of a reader for these chunks, and the most memory that it held. */
function read(chunks: readonly Uint8Array[], limit = 1000): { events: Seen[]; held: number } {
  const reader = new WebSocketReader(limit);
  const events: Seen[] = [];
  let held = 0;
  for (const chunk of chunks) {
    reader.push(chunk.slice());
    for (let event = reader.next(); event !== undefined; event = reader.next()) {
      if (event.kind !== 'part')
        events.push('bytes' in event ? { ...event, bytes: event.bytes.slice() } : event);
    }
    held = Math.max(held, reader.held);
  }
  return { events, held };
}

/** Splits bytes at these positions, modulo the length. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
}

test('the examples of RFC 6455 §5.7', () => {
  const hello = Uint8Array.of(0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58);
  assert.deepEqual(read([hello]).events, [{ kind: 'message', bytes: text('Hello') }]);
  const ping = Uint8Array.of(0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58);
  assert.deepEqual(read([ping]).events, [{ kind: 'ping', bytes: text('Hello') }]);
  assert.deepEqual([...smallFrame(OPCODE.ping, text('Hello'))], [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
  assert.deepEqual([...frameHeader(OPCODE.binary, 256)], [0x82, 0x7e, 0x01, 0x00]);
  assert.deepEqual([...frameHeader(OPCODE.binary, 65_536)], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
  assert.deepEqual([...closeFrame(1000)], [0x88, 0x02, 0x03, 0xe8]);
});

test('messages arrive whole, however they are split into frames and segments', () => {
  const message = fc.record({
    payload: fc.uint8Array({ maxLength: 1000 }),
    fragments: fc.array(fc.nat(), { maxLength: 4 }),
    mask: fc.uint8Array({ minLength: 4, maxLength: 4 }),
    ping: fc.option(fc.uint8Array({ maxLength: 125 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 6 }),
      fc.array(fc.nat(), { maxLength: 20 }),
      (plan, places) => {
        const expected: Seen[] = [];
        const frames: Uint8Array[] = [];
        for (const { payload, fragments, mask, ping } of plan) {
          const parts = cut(payload, fragments);
          for (const [i, part] of parts.entries()) {
            const opcode = i === 0 ? OPCODE.binary : OPCODE.continuation;
            frames.push(frame({ opcode, payload: part, final: i === parts.length - 1, mask }));
            if (i > 0 || ping === undefined) continue;
            frames.push(frame({ opcode: OPCODE.ping, payload: ping })); // between fragments, §5.4
            if (parts.length > 1) expected.push({ kind: 'ping', bytes: ping });
          }
          expected.push({ kind: 'message', bytes: payload });
          if (parts.length === 1 && ping !== undefined) expected.push({ kind: 'ping', bytes: ping });
        }
        frames.push(frame({ opcode: OPCODE.close, payload: Uint8Array.of(0x0f, 0xa1) }));
        expected.push({ kind: 'close', code: 4001 });
        assert.deepEqual(read(cut(join(frames), places)).events, expected);
      },
    ),
  );
});

test('an invalid frame ends the connection with the right close code', () => {
  const payload = new Uint8Array(3);
  const final = false;
  const cases: readonly (readonly [string, readonly Uint8Array[], number])[] = [
    ['not masked', [smallFrame(OPCODE.binary, payload)], 1002],
    ['compressed', [frame({ opcode: OPCODE.binary, payload, reserved: 0x40 })], 1002],
    ['reserved bits', [frame({ opcode: OPCODE.binary, payload, reserved: 0x10 })], 1002],
    ['unknown', [frame({ opcode: 3, payload })], 1002],
    ['unknown control', [frame({ opcode: 11, payload })], 1002],
    ['a fragmented ping', [frame({ opcode: OPCODE.ping, payload, final })], 1002],
    ['a long ping', [frame({ opcode: OPCODE.ping, payload: new Uint8Array(126) })], 1002],
    ['half a close code', [frame({ opcode: OPCODE.close, payload: Uint8Array.of(3) })], 1002],
    ['a reserved close code', [frame({ opcode: OPCODE.close, payload: Uint8Array.of(3, 0xed) })], 1002],
    ['a continuation without a start', [frame({ opcode: OPCODE.continuation, payload })], 1002],
    [
      'a new message inside a fragmented one',
      [frame({ opcode: OPCODE.binary, payload, final }), frame({ opcode: OPCODE.binary, payload })],
      1002,
    ],
    ['text', [frame({ opcode: OPCODE.text, payload })], 1003],
    ['too long', [frame({ opcode: OPCODE.binary, payload: new Uint8Array(1001) })], 1009],
    [
      'the longest possible length',
      [Uint8Array.of(0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4)],
      1009,
    ],
    [
      'too long in fragments',
      [
        frame({ opcode: OPCODE.binary, payload: new Uint8Array(600), final }),
        frame({ opcode: OPCODE.continuation, payload: new Uint8Array(600), final }),
      ],
      1009,
    ],
  ];
  for (const [what, frames, code] of cases) {
    const after = frame({ opcode: OPCODE.binary, payload });
    assert.deepEqual(read([...frames, after]).events, [{ kind: 'failed', code }], what);
  }
});

test('an unfinished message uses at most twice the memory of its bytes, and never more than the limit', () => {
  const limit = 1000;
  const hostile = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc
      .record({ length: fc.nat(limit), final: fc.boolean(), opcode: fc.constantFrom(0, 2, 9) })
      .map(({ length, final, opcode }) => frame({ opcode, payload: new Uint8Array(length), final })),
    fc.nat(limit).map((length) => frame({ opcode: 2, payload: new Uint8Array(length) }).subarray(0, 9)),
  );
  fc.assert(
    fc.property(
      fc.array(hostile, { maxLength: 30 }),
      fc.array(fc.nat(), { maxLength: 30 }),
      (parts, places) => {
        const bytes = join(parts);
        const { held } = read(cut(bytes, places), limit);
        assert.ok(held <= Math.min(2 * bytes.length, limit + 125), `${held} bytes of ${bytes.length}`);
      },
    ),
  );
  // Control: it keeps the bytes that are still needed.
  const whole = frame({ opcode: OPCODE.binary, payload: new Uint8Array(900) });
  assert.ok(read([whole.subarray(0, 500)]).held > 400);
  // 16 000 fragments of one byte, each in its own segment.
  const first = frame({ opcode: OPCODE.binary, payload: new Uint8Array(1), final: false });
  const next = frame({ opcode: OPCODE.continuation, payload: new Uint8Array(1), final: false });
  const { events, held } = read([first, ...Array.from({ length: 16_000 }, () => next)], limit);
  assert.deepEqual([events, held <= limit], [[{ kind: 'failed', code: 1009 }], true]);
});
