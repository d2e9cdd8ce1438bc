import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { NodeCrypto } from '../../src/crypto/node-crypto.js';
import { CookieChecker, CookieHolder } from '../../src/wireguard/cookie.js';
import { EMPTY } from '../../src/wireguard/crypto.js';
import { DROP } from '../../src/wireguard/drops.js';
import {
  COOKIE_REPLY,
  INITIATION,
  messageType,
  RESPONSE,
  readCounter,
  TRANSPORT,
  viewOf,
} from '../../src/wireguard/messages.js';
import {
  createInitiation,
  createResponse,
  openPayload,
  openResponse,
  openStatic,
} from '../../src/wireguard/noise.js';
import { needs } from '../kit/requirements.js';
import { fillIn, makeBlocks } from './blocks.js';
import { capture, keyLog } from './capture.js';
import { innerPacket, MESSAGE, OUTER, play } from './scene.js';

const document = readFileSync('docs/WIRE.md', 'utf8');

/** The contents of a marked block. */
function block(name: string): string {
  const found = new RegExp(`<!-- bytes: ${name} -->\n\`\`\`text\n([\\s\\S]*?)\n\`\`\`\n<!-- end -->`).exec(
    document,
  );
  assert.ok(found, `docs/WIRE.md has no block ${name}`);
  return found[1]!;
}

/** Reads a message, printed field by field. */
function message(name: string): Uint8Array {
  const lines = block(name).split('\n');
  const digits = lines.map(
    (line) => /^(?: *\d+ +\d+ {2}\w+ +| {20})((?:[0-9a-f]{2})+)/.exec(line)?.[1] ?? '',
  );
  const bytes = Buffer.from(digits.join(''), 'hex');
  assert.match(lines.at(-1)!, new RegExp(`^ *${bytes.length} {2}total$`));
  return Uint8Array.from(bytes);
}

/** Reads a printed key. */
function key(name: string): Uint8Array {
  const found = new RegExp(`\\b${name} +([0-9a-f]{64})$`, 'm').exec(block('keys'));
  assert.ok(found, `docs/WIRE.md does not print ${name}`);
  return Uint8Array.from(Buffer.from(found[1]!, 'hex'));
}

const crypto = new NodeCrypto();
const initiation = message('initiation');
const response = message('response');
const noiseOf = (bytes: Uint8Array, { ephemeral, mac1 }: typeof INITIATION | typeof RESPONSE): Uint8Array =>
  bytes.subarray(ephemeral, mac1);

test('the bytes in docs/WIRE.md match the code (if not: npm run wire)', () => {
  assert.equal(document, fillIn(document, makeBlocks(play())));
});

test('the printed messages have the types and lengths of [W] 5.4', () => {
  const types = ['initiation', 'response', 'cookie-reply', 'data', 'keepalive', 'second-initiation'].map(
    (name) => {
      const bytes = message(name);
      return messageType(viewOf(bytes), 0, bytes.length);
    },
  );
  assert.deepEqual(types, [1, 2, 3, 4, 4, 1]);
});

test('the receiver can open the printed messages with the printed keys', () => {
  const server = crypto.privateKey(key('S_priv_r'));
  const laptop = crypto.privateKey(key('S_priv_i'));
  const staticStatic = new Uint8Array(32);
  assert.ok(crypto.dh(server, laptop.publicKey, staticStatic));

  // As the server: open the initiation, and recreate the response.
  assert.ok(new CookieChecker(crypto, server.publicKey.bytes).hasMac1(initiation));
  const claimed = openStatic(crypto, server, noiseOf(initiation, INITIATION));
  assert.deepEqual(claimed?.initiator, key('S_pub_i'));
  const timestamp = new Uint8Array(12);
  assert.ok(openPayload(claimed!, staticStatic, noiseOf(initiation, INITIATION), timestamp));
  assert.equal(
    Buffer.from(timestamp).toString('hex'),
    block('timestamp')
      .match(/^[0-9a-f]+/gm)!
      .join(''),
  );
  const again = new Uint8Array(RESPONSE.mac1 - RESPONSE.ephemeral);
  const ephemeral = crypto.privateKey(key('E_priv_r'));
  assert.ok(createResponse(claimed!, ephemeral, laptop.publicKey, key('Q'), EMPTY, again));
  assert.deepEqual(again, noiseOf(response, RESPONSE));
  const [serverSends, serverReceives] = [new Uint8Array(32), new Uint8Array(32)];
  claimed!.transcript.split(serverSends, serverReceives, false);

  // As the laptop: recreate the initiation, and open the response.
  const own = crypto.privateKey(key('E_priv_i'));
  const written = new Uint8Array(INITIATION.mac1 - INITIATION.ephemeral);
  const transcript = createInitiation(
    crypto,
    laptop.publicKey,
    own,
    server.publicKey,
    staticStatic,
    timestamp,
    written,
  );
  assert.deepEqual(written, noiseOf(initiation, INITIATION));
  assert.ok(new CookieChecker(crypto, laptop.publicKey.bytes).hasMac1(response));
  assert.ok(openResponse(crypto, transcript!, laptop, own, key('Q'), noiseOf(response, RESPONSE), EMPTY));
  const [laptopSends, laptopReceives] = [new Uint8Array(32), new Uint8Array(32)];
  transcript!.split(laptopSends, laptopReceives, true);
  assert.deepEqual([laptopSends, laptopReceives], [serverReceives, serverSends]);

  // Data and keepalive.
  const opened = (name: string, receivingKey: Uint8Array, index: Uint8Array): Uint8Array => {
    const bytes = message(name);
    assert.deepEqual(bytes.subarray(TRANSPORT.receiver, TRANSPORT.counter), index);
    const sealed = bytes.subarray(TRANSPORT.payload);
    const plaintext = new Uint8Array(sealed.length - 16);
    const counter = readCounter(viewOf(bytes), TRANSPORT.counter);
    assert.ok(crypto.open(receivingKey, counter, sealed, EMPTY, plaintext));
    return plaintext;
  };
  const data = opened('data', serverReceives, response.subarray(RESPONSE.sender, RESPONSE.receiver));
  assert.deepEqual(data.subarray(0, innerPacket().length), innerPacket());
  assert.ok(data.subarray(innerPacket().length).every((byte) => byte === 0));
  const keepalive = opened(
    'keepalive',
    laptopReceives,
    initiation.subarray(INITIATION.sender, INITIATION.ephemeral),
  );
  assert.equal(keepalive.length, 0);
});

test('the printed cookie reply answers the printed initiation, and yields the mac2 of the next one', () => {
  const reply = message('cookie-reply');
  const second = message('second-initiation');
  assert.deepEqual(
    reply.subarray(COOKIE_REPLY.receiver, COOKIE_REPLY.nonce),
    initiation.subarray(INITIATION.sender, INITIATION.ephemeral),
  );
  const holder = new CookieHolder(crypto, key('S_pub_r'));
  const withMacs = (bytes: Uint8Array): Uint8Array => {
    const copy = Uint8Array.from(bytes).fill(0, INITIATION.mac1);
    holder.seal(copy, 5000);
    return copy;
  };
  assert.deepEqual(withMacs(initiation), initiation);
  assert.ok(holder.open(reply, 10));
  assert.deepEqual(withMacs(second), second);
});

test('Wireshark decodes the scene as docs/WIRE.md describes it', (t) => {
  if (!needs(t, 'tshark')) return;
  const folder = mkdtempSync(join(tmpdir(), 'wire-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [file, keys] = [join(folder, 'wire.pcapng'), join(folder, 'keys')];
  writeFileSync(file, capture(play()));
  writeFileSync(keys, keyLog());
  const fields = ['ip.src', 'ip.dst', 'wg.type', 'wg.handshake_ok', 'udp.payload'];
  const { stdout, stderr, status } = spawnSync(
    'tshark',
    ['-r', file, '-o', `wg.keylog_file:${keys}`, '-T', 'fields', ...fields.flatMap((field) => ['-e', field])],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  const rows = stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split('\t'));
  assert.deepEqual(
    rows.map((row) => row[2]),
    ['1', '2', '4', '4'],
  );
  assert.match(rows[1]![3]!, /^(1|True)$/); // older and newer versions print it differently
  const [laptop, server] = [OUTER.laptop, OUTER.server].map(({ text }) => text.split(':')[0]);
  assert.deepEqual(rows[2]!.slice(0, 2), [`${laptop},10.0.0.2`, `${server},10.0.0.1`]);
  assert.ok(rows[2]![4]!.endsWith(Buffer.from(MESSAGE).toString('hex')));
});

const namesIn = (text: string, pattern: RegExp): string[] =>
  [...text.matchAll(pattern)].map(([, name]) => name!).sort();
const section = (from: string, to: string): string =>
  document.slice(document.indexOf(`\n${from}`), document.indexOf(`\n${to}`));

test('the table of drop counters lists exactly the drop reasons', () => {
  const tunnel = readFileSync('src/tunnel/drops.ts', 'utf8');
  const tunnelOnly = namesIn(tunnel, /^ {2}'([a-z0-9-]+)',/gm);
  assert.ok(tunnelOnly.length > 0);
  const listed = namesIn(
    section('## What a stranger sees', '## See for yourself'),
    /^\| `([a-z0-9-]+)` \|/gm,
  );
  assert.deepEqual(listed, [...DROP, ...tunnelOnly].sort());
});

test('the table of timers lists exactly the timers', () => {
  const timers = namesIn(readFileSync('src/wireguard/timers.ts', 'utf8'), /^ {2}(\w+): \(t: Timers\)/gm);
  assert.ok(timers.length > 0);
  const listed = namesIn(section('### Timers', '## What a stranger sees'), /^\| `(\w+)` \|/gm);
  assert.deepEqual(listed, timers);
});
