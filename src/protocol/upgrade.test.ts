import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ascii } from '../wireguard/crypto.js';
import { HeadReader, MAX_HEAD, wantsWebSocket, webSocketKey } from './upgrade.js';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='; // RFC 6455 §1.3
const UPGRADE = [
  'GET /lametun?x=1 HTTP/1.1',
  'Host: hub.example.com',
  'Upgrade: WebSocket',
  'Connection: keep-alive, Upgrade',
  `Sec-WebSocket-Key:${KEY}  `,
  'sec-websocket-version: 13',
  'X-Forwarded-For: 192.0.2.1',
  'x-forwarded-for: 192.0.2.2',
];
const bytes = (lines: readonly string[]): Uint8Array => ascii(`${lines.join('\r\n')}\r\n\r\n`);
const read = (lines: readonly string[]): ReturnType<HeadReader['push']> =>
  new HeadReader().push(bytes(lines));

test('a request is read however it is split into segments, and the bytes after it are kept', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 10 }), fc.uint8Array({ maxLength: 20 }), (places, behind) => {
      const all = Uint8Array.of(...bytes(UPGRADE), ...behind);
      const end = all.length - behind.length;
      const ends = [...places.map((place) => place % end), all.length].sort((a, b) => a - b);
      const reader = new HeadReader();
      let result: ReturnType<HeadReader['push']>;
      for (const [i, to] of ends.entries()) result = reader.push(all.subarray(ends[i - 1] ?? 0, to));
      assert.ok(typeof result === 'object');
      assert.equal(result.head.path, '/lametun');
      assert.equal(result.head.headers.get('x-forwarded-for'), '192.0.2.1, 192.0.2.2');
      assert.ok(wantsWebSocket(result.head));
      assert.equal(webSocketKey(result.head), KEY);
      assert.deepEqual([...result.rest], [...behind]);
      assert.equal(reader.held, 0);
    }),
  );
});

test('a request that lacks a part of an upgrade is rejected', () => {
  for (const [from, to] of [
    ['GET', 'POST'],
    ['keep-alive, Upgrade', 'keep-alive'],
    ['version: 13', 'version: 8'],
    [KEY, 'short'],
    [KEY, `${KEY}, ${KEY}`],
    ['Upgrade: WebSocket', 'Upgrade: h2c'],
  ] as const) {
    const result = read(UPGRADE.map((line) => line.replace(from, to)));
    assert.ok(typeof result === 'object', to);
    assert.ok(webSocketKey(result.head) === undefined || !wantsWebSocket(result.head), `${from} → ${to}`);
  }
});

test('input that is no request is detected at its first byte, at the size limit, or at its end', () => {
  assert.equal(new HeadReader().push(ascii('\x16\x03\x01')), 'malformed'); // TLS
  assert.equal(new HeadReader().push(ascii('GET /')), undefined);
  for (const lines of [
    ['GET /'],
    ['GET / HTTP/2.0'],
    ['GET  / HTTP/1.1'],
    ['GET / HTTP/1.1', 'no colon'],
    ['GET / HTTP/1.1', ' folded: line'],
    ['GET / HTTP/1.1', 'name : value'],
    ['GET / HTTP/1.1', 'name: va\0lue'],
    ['GET / HTTP/1.1', 'name: va\nlue'],
  ])
    assert.equal(read(lines), 'malformed', lines.join('|'));
  assert.equal(typeof read(['GET / HTTP/1.1', `x: ${'y'.repeat(MAX_HEAD - 30)}`]), 'object');
  assert.equal(read(['GET / HTTP/1.1', `x: ${'y'.repeat(MAX_HEAD)}`]), 'malformed');
});

test('at most the longest allowed head is kept', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 8 }), (chunks) => {
      const reader = new HeadReader();
      let result = reader.push(ascii('G'));
      for (const chunk of chunks) {
        if (result !== undefined) break;
        result = reader.push(chunk);
        assert.ok(reader.held < MAX_HEAD || result === 'malformed');
      }
    }),
  );
});
