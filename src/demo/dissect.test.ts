import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dissect } from './dissect.js';
import { fromHex } from './events.js';

/** A ping inside a datagram of the tunnel, captured on the internet of the demo. */
const WRAPPED =
  '4500007467064000' +
  '3f116e32c6336407' +
  'cb007105' +
  'eeec04d200609d2e' +
  '00000800' +
  '4500005496384000' +
  '4001a7bc0a000002' +
  'c0a8320a' +
  '0800ce9700620002';

const names = (hex: string): string[] => dissect(fromHex(hex)).map(({ name }) => name);

test('a datagram of the tunnel is dissected down to the ping', () => {
  const layers = dissect(fromHex(WRAPPED));
  assert.deepEqual(
    layers.map(({ name, title, start, end }) => [name, title, start, end]),
    [
      ['IPv4', '198.51.100.7 → 203.0.113.5', 0, 20],
      ['UDP', 'port 61164 → port 1234', 20, 28],
      ['packet information', 'what follows is IPv4', 28, 32],
      ['IPv4', '10.0.0.2 → 192.168.50.10', 32, 52],
      ['ICMP', 'echo request', 52, 60],
    ],
  );
  assert.deepEqual(layers[0]!.fields, ['length 116', 'TTL 63', 'UDP (17)', 'checksum ok', "don't fragment"]);
});

test('a wrong header checksum is reported', () => {
  const layers = dissect(fromHex(WRAPPED.replace('6e32', '6e33')));
  assert.ok(layers[0]!.fields.includes('checksum wrong'));
});

test('UDP and TCP checksums are computed over the pseudo header', () => {
  const udp = '4500001d000040004011' + 'f6b0' + 'c0a80117cb007105' + '000a000b0009' + '0000' + '41';
  const layer = dissect(fromHex(udp))[1]!;
  assert.deepEqual(layer.fields, ['length 9', 'no checksum']);
  // Computed by hand: the sum of c0a8+0117+cb00+7105 + 17 + 9 + 000a+000b+0009 + 4100, folded and inverted.
  let sum = 0xc0a8 + 0x0117 + 0xcb00 + 0x7105 + 17 + 9 + 0xa + 0xb + 9 + 0x4100;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  const right = (~sum & 0xffff).toString(16).padStart(4, '0');
  const checked = (sumHex: string): string[] => [
    ...dissect(fromHex(udp.replace('00090000', `0009${sumHex}`)))[1]!.fields,
  ];
  assert.deepEqual(checked(right), ['length 9', 'checksum ok']);
  assert.deepEqual(checked('1234'), ['length 9', 'checksum wrong']);
});

test('the payload of a later fragment is not parsed as a header', () => {
  const fragment = `4500001c6706${'00b9'}4011${'0000'}c0a80117cb007105${'0000000000000000'}`;
  assert.deepEqual(names(fragment), ['IPv4', 'fragment']);
});

test('IPv6 is dissected, inside and outside the tunnel', () => {
  const header = (length: string, next: string): string =>
    `60000000${length}${next}40${'20010db8'.padEnd(32, '0')}${'20010db8'.padEnd(31, '0')}1`;
  const inner = `${header('0008', '3a')}8000000000010002`;
  const outer = `${header('003c', '11')}04d204d2003c0000${'000086dd'}${inner}`;
  assert.deepEqual(names(outer), ['IPv6', 'UDP', 'packet information', 'IPv6', 'ICMP']);
});

test('HTTP is recognized by its first line', () => {
  const tcp = `005000500000000000000000${'50'}18ffff00000000`;
  const text = Buffer.from('GET / HTTP/1.1\r\n\r\n').toString('hex');
  const packet = `450000${(20 + 20 + 18).toString(16)}000040004006${'0000'}0a0000020a000001${tcp}${text}`;
  assert.deepEqual(names(packet), ['IPv4', 'TCP', 'HTTP']);
});

test('truncated packets and noise are dissected without an error', () => {
  for (let length = 0; length <= WRAPPED.length; length += 2) dissect(fromHex(WRAPPED.slice(0, length)));
  let seed = 1;
  for (let i = 0; i < 2000; i++) {
    const bytes = Uint8Array.from({ length: i % 90 }, () => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return seed >>> 24;
    });
    if (bytes.length > 0) bytes[0] = i % 2 === 0 ? 0x45 : 0x60;
    for (const { start, end } of dissect(bytes)) assert.ok(start <= end);
  }
});
