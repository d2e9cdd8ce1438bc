import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readAddress } from './interface.js';
import { readLink } from './link.js';
import {
  Attributes,
  MessageWriter,
  type NetlinkMessage,
  NLM_F,
  NLMSG,
  NLMSGHDR,
  readAcknowledgement,
  readMessages,
} from './netlink-message.js';
import { readRoute } from './route.js';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));

test('a request equals that of iproute2', () => {
  // strace -e trace=sendmsg -e write=all ip link set dev lo mtu 1400 (iproute2 6.1.0), except the sequence number
  const message = new MessageWriter(16, NLM_F.request | NLM_F.ack, 16).u32(4, 1400);
  message.fixed.setInt32(4, 1, true);
  assert.deepEqual(
    message.finish(7),
    hex(`28000000 1000 0500 07000000 00000000  00 00 0000 01000000 00000000 00000000  0800 0400 78050000`),
  );
});

test('an attribute is padded to four bytes, and its length excludes the padding', () => {
  const bytes = new MessageWriter(18, NLM_F.request, 16).text(3, 'tun0').finish(1);
  assert.deepEqual(bytes.subarray(32), hex('0900 0300 74756e30 00 000000'));
  assert.equal(bytes.length, 44);
  const [message] = readMessages(bytes);
  assert.equal(new Attributes(message!.payload, 16).text(3), 'tun0');
});

test('a written message can be read back', () => {
  const attribute = fc.record({ type: fc.nat(0x3fff), value: fc.uint8Array({ maxLength: 40 }) });
  fc.assert(
    fc.property(
      fc.nat(0xffff),
      fc.nat(0xffff),
      fc.nat(64),
      fc.uniqueArray(attribute, { selector: ({ type }) => type, maxLength: 8 }),
      (type, flags, fixedSize, attributes) => {
        const writer = new MessageWriter(type, flags, fixedSize);
        for (const { type, value } of attributes) writer.attribute(type, value);
        const messages = readMessages(writer.finish(99));
        assert.equal(messages.length, 1);
        const [message] = messages;
        assert.deepEqual([message!.type, message!.flags, message!.sequence], [type, flags, 99]);
        const read = new Attributes(message!.payload, (fixedSize + 3) & ~3);
        for (const { type, value } of attributes) assert.deepEqual(read.bytes(type), value);
      },
    ),
  );
});

test('several messages in one datagram are separated', () => {
  const one = new MessageWriter(20, 0, 8).finish(1);
  const two = new MessageWriter(24, 0, 12).finish(2);
  assert.deepEqual(
    readMessages(Buffer.concat([one, two])).map(({ type }) => type),
    [20, 24],
  );
});

test('a truncated message is ignored', () => {
  const bytes = new MessageWriter(20, 0, 8).text(3, 'tun0').finish(1);
  for (let length = 0; length < bytes.length; length++) {
    assert.deepEqual(readMessages(bytes.subarray(0, length)), []);
  }
});

test('a message or attribute of length zero ends the reading instead of looping', () => {
  assert.deepEqual(readMessages(new Uint8Array(64)), []);
  assert.equal(new Attributes(new DataView(new ArrayBuffer(64))).u32(0), undefined);
});

test("an acknowledgment has the errno and the kernel's message", () => {
  // nlmsgerr -22, header of the request, NLMSGERR_ATTR_MSG "Invalid"
  const payload = hex('eaffffff 28000000 1000 0500 07000000 00000000  0c00 0100 496e76616c696400');
  const flags = NLM_F.capped | NLM_F.ackAttributes;
  assert.deepEqual(readAcknowledgement(message({ type: NLMSG.error, flags, payload })), {
    errno: 22,
    text: 'Invalid',
  });
  assert.deepEqual(readAcknowledgement(message({ type: NLMSG.error, flags: 0, payload })), {
    errno: 22,
    text: undefined,
  });
});

test("in an acknowledgment that repeats the request, the kernel's message follows it", () => {
  const request = new MessageWriter(16, 5, 16).finish(7);
  const payload = Buffer.concat([hex('eaffffff'), request, hex('0c00 0100 496e76616c696400')]);
  assert.equal(
    readAcknowledgement(message({ type: NLMSG.error, flags: NLM_F.ackAttributes, payload })).text,
    'Invalid',
  );
});

test('garbage never makes the reader loop, throw or read out of bounds', () => {
  const header = fc.record({
    length: fc.nat(200),
    type: fc.constantFrom(2, 3, 16, 17, 20, 24),
    flags: fc.nat(0xffff),
  });
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      header,
      fc.nat(16),
      (garbage, { length, type, flags }, offset) => {
        // A view into the middle of a larger buffer: bytes outside must not be read.
        const whole = new Uint8Array(garbage.length + 32).fill(0xaa);
        const datagram = whole.subarray(offset, offset + garbage.length);
        datagram.set(garbage);
        if (garbage.length >= NLMSGHDR.size) {
          const view = new DataView(whole.buffer, offset);
          view.setUint32(NLMSGHDR.length, length, true);
          view.setUint16(NLMSGHDR.type, type, true);
          view.setUint16(NLMSGHDR.flags, flags, true);
        }
        for (const message of readMessages(datagram)) {
          const end = message.payload.byteOffset + message.payload.byteLength;
          assert.ok(end <= offset + garbage.length);
          readAcknowledgement(message);
          readLink(message);
          readRoute(message);
          readAddress(message);
          for (let type = 0; type < 32; type++) new Attributes(message.payload, offset).nested(type).text(1);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

function message(parts: { type: number; flags: number; payload: Uint8Array }): NetlinkMessage {
  const { buffer, byteOffset, byteLength } = parts.payload;
  return { ...parts, sequence: 0, port: 0, payload: new DataView(buffer, byteOffset, byteLength) };
}
