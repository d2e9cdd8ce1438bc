import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { type FakeInterface, FIRST_PORT, fakeInterface } from '../../../tests/kit/fake-interface.js';
import { PrefixLookup } from '../../ip/prefix-table.js';
import { UapiSession } from './session.js';

const A = 'ab'.repeat(32);
const B = 'cd'.repeat(32);
const ZERO = '00'.repeat(32);

/** One connection to a fake interface. `say` returns the answer. */
function connection(t: TestContext, fake: FakeInterface = fakeInterface(t)) {
  const session = new UapiSession(fake);
  const collect = (parts: Iterable<Buffer>): string =>
    Buffer.concat([...parts].map((part) => Buffer.from(part))).toString();
  return {
    ...fake,
    session,
    say: (...lines: readonly string[]) =>
      collect(session.handle(Buffer.from(lines.map((line) => `${line}\n`).join('')))),
    raw: (text: string) => collect(session.handle(Buffer.from(text))),
    end: () => collect(session.end()),
    get: () => collect(session.handle(Buffer.from('get=1\n\n'))),
  };
}
const OK = 'errno=0\n\n';

test('a new interface has a port, and nothing else', (t) => {
  assert.equal(connection(t).get(), `listen_port=${FIRST_PORT}\n${OK}`);
});

test('get shows everything that was set, in the order of wireguard-go', (t) => {
  const { say, get, engine, device } = connection(t);
  const answer = say(
    ...['set=1', `private_key=${'77'.repeat(32)}`, 'listen_port=51820', 'fwmark=51', `public_key=${A}`],
    ...[`preshared_key=${B}`, 'endpoint=192.0.2.1:5', 'persistent_keepalive_interval=25'],
    ...['allowed_ip=10.0.0.7/24', 'allowed_ip=fd00::1/64', 'protocol_version=1', ''],
  );
  assert.equal(answer, OK);
  const peer = device.peer(Buffer.from(A, 'hex'))!;
  engine.bytes.set(peer.id, { received: 12, sent: 34 });
  peer.lastHandshake = 1_700_000_000_123;
  assert.equal(
    get(),
    [
      ...[`private_key=70${'77'.repeat(31)}`, 'listen_port=51820', 'fwmark=51', `public_key=${A}`],
      ...[
        `preshared_key=${B}`,
        'protocol_version=1',
        'endpoint=192.0.2.1:5',
        'last_handshake_time_sec=1700000000',
      ],
      ...[
        'last_handshake_time_nsec=123000000',
        'tx_bytes=34',
        'rx_bytes=12',
        'persistent_keepalive_interval=25',
      ],
      ...['allowed_ip=10.0.0.0/24', 'allowed_ip=fd00::/64', 'errno=0', '', ''],
    ].join('\n'),
  );
});

test('errnos are those of wireguard-go, and lines before an invalid one take effect', (t) => {
  for (const [line, errno] of [
    ['foo=1', -22],
    ['foo', -71],
    ['listen_port=65536', -22],
    ['replace_peers=false', -22],
    ['private_key=ab', -22],
    ['public_key=zz', -22],
    ['allowed_ip=10.0.0.0/8', -22],
    [`public_key=${B}\nlisten_port=5`, -22],
    [`public_key=${B}\nprotocol_version=2`, -22],
    [`public_key=${B}\nendpoint=localhost:5`, -22],
    [`public_key=${B}\nremove=true\nendpoint=bad`, -22],
  ] as const) {
    const { say, get } = connection(t);
    assert.equal(say('set=1', 'fwmark=9', line, ''), `errno=${errno}\n\n`, line);
    assert.match(get(), /^listen_port=\d+\nfwmark=9\n/);
  }
});

test('a connection accepts several requests, split in any way', (t) => {
  const { raw, say, session } = connection(t);
  const port = `listen_port=${FIRST_PORT}\n`;
  assert.equal(raw('get=1\n\nset=1\nfwmark=1\n\nget=1\n\n'), `${port}${OK}${OK}${port}fwmark=1\n${OK}`);
  const parts = [...'set=1\nfwmark=2\n\nget=1\n\n'].map((char) => raw(char)).join('');
  assert.equal(parts, `${OK}${port}fwmark=2\n${OK}`);
  assert.equal(say('set=1', ''), OK);
  assert.equal(session.isOver, false);
});

test('after an invalid line the rest of the request is skipped, and the connection stays open', (t) => {
  const { raw, say, get } = connection(t);
  assert.equal(
    say('set=1', 'foo=1', 'fwmark=3', '', 'get=1', ''),
    `errno=-22\n\nlisten_port=${FIRST_PORT}\n${OK}`,
  );
  assert.equal(raw('set=1\nfoo=1\n'), 'errno=-22\n\n', 'at once');
  assert.equal(get(), `listen_port=${FIRST_PORT}\n${OK}`, 'even without the empty line');
});

test('an unknown request ends the connection without an answer', (t) => {
  for (const text of ['junk\n', 'get=2\n\n', 'set=2\n\n', '\n', 'get=1\r\n\r\n', 'GET / HTTP/1.1\r\n']) {
    const { raw, session } = connection(t);
    assert.equal(raw(text), '');
    assert.equal(session.isOver, true);
  }
});

test('text after get=1 is refused', (t) => {
  const { raw, session } = connection(t);
  assert.equal(raw('get=1\nx\n'), 'errno=-22\n\n');
  assert.equal(raw('\n'), '');
  assert.equal(session.isOver, true);
});

test('a line of more than 64 KiB causes an I/O error, and ends the connection', (t) => {
  const { raw, session } = connection(t);
  assert.equal(raw(`set=1\nfoo=${'x'.repeat(70_000)}`), 'errno=-5\n\n');
  assert.equal(session.isOver, true);
});

test('at the end of input, an unfinished request takes effect, but an unfinished line does not', (t) => {
  const { raw, end, device } = connection(t);
  assert.equal(raw('set=1\nfwmark=4\nfwmark=5'), '');
  assert.equal(end(), OK);
  assert.equal(device.fwmark, 4);
});

test('update_only creates nothing, and the rest of its lines has no effect', (t) => {
  const { say, get } = connection(t);
  assert.equal(say('set=1', `public_key=${A}`, 'update_only=true', 'allowed_ip=10.0.0.0/8', ''), OK);
  assert.doesNotMatch(get(), /public_key/);
  say('set=1', `public_key=${A}`, '');
  say('set=1', `public_key=${A}`, 'update_only=true', 'allowed_ip=10.0.0.0/8', '');
  assert.match(get(), /allowed_ip=10\.0\.0\.0\/8/);
});

test('remove removes a peer, and ignores unknown peers', (t) => {
  const { say, get, engine } = connection(t);
  say('set=1', `public_key=${A}`, 'allowed_ip=10.0.0.0/8', '');
  assert.equal(say('set=1', `public_key=${A}`, 'remove=true', 'allowed_ip=11.0.0.0/8', ''), OK);
  assert.equal(say('set=1', `public_key=${B}`, 'remove=true', ''), OK);
  assert.equal(get(), `listen_port=${FIRST_PORT}\n${OK}`);
  assert.equal(engine.peers.size, 0);
});

test('a peer number is released only after the data plane has removed its allowed IPs', (t) => {
  const { say, engine } = connection(t);
  say('set=1', `public_key=${A}`, 'allowed_ip=10.0.0.0/8', '');
  engine.forget();
  say('set=1', `public_key=${A}`, 'remove=true', '');
  const calls = engine.calls.map(({ method }) => method).filter((method) => method !== 'discardQueue');
  assert.deepEqual(calls, ['setAllowedIps', 'removePeer']);
});

test('replace_peers and replace_allowed_ips start with an empty list', (t) => {
  const { say, get } = connection(t);
  say('set=1', `public_key=${A}`, 'allowed_ip=10.0.0.0/8', 'allowed_ip=11.0.0.0/8', '');
  say('set=1', `public_key=${A}`, 'replace_allowed_ips=true', 'allowed_ip=12.0.0.0/8', '');
  assert.match(get(), /interval=0\nallowed_ip=12\.0\.0\.0\/8\nerrno/);
  say('set=1', 'replace_peers=true', `public_key=${B}`, '');
  assert.match(get(), new RegExp(`^listen_port=\\d+\\npublic_key=${B}\\n`));
});

test('an allowed IP belongs to the last peer that got it, and only that peer can remove it', (t) => {
  const { say, engine, device } = connection(t);
  say('set=1', `public_key=${A}`, 'allowed_ip=10.0.0.0/8', `public_key=${B}`, 'allowed_ip=10.0.0.0/8', '');
  const owner = (): number => {
    const [table] = engine.of('setAllowedIps').at(-1) as [Int32Array];
    return new PrefixLookup(table).find4(Uint8Array.of(10, 1, 2, 3), 0);
  };
  assert.equal(owner(), device.peer(Buffer.from(B, 'hex'))!.id);
  say('set=1', `public_key=${A}`, 'allowed_ip=-10.0.0.0/8', '');
  assert.equal(owner(), device.peer(Buffer.from(B, 'hex'))!.id);
  say('set=1', `public_key=${B}`, 'allowed_ip=-10.0.0.0/8', '');
  assert.equal(owner(), -1);
});

test('the table of allowed IPs is built once per request', (t) => {
  const { say, engine } = connection(t);
  const lines = Array.from({ length: 500 }, (_, i) => `allowed_ip=10.0.${i >> 8}.${i & 255}/32`);
  say('set=1', `public_key=${A}`, ...lines, '');
  assert.equal(engine.of('setAllowedIps').length, 1);
});

test('a peer with the interface’s own public key is ignored', (t) => {
  const { say, get, device } = connection(t);
  say('set=1', `private_key=${'77'.repeat(32)}`, '');
  const own = Buffer.from(device.publicKey!).toString('hex');
  assert.equal(say('set=1', `public_key=${own}`, 'allowed_ip=10.0.0.0/8', ''), OK);
  assert.doesNotMatch(get(), /public_key/);
  say('set=1', `private_key=${ZERO}`, `public_key=${own}`, 'allowed_ip=10.0.0.0/8', '');
  assert.match(get(), new RegExp(`public_key=${own}`));
  say('set=1', `private_key=${'77'.repeat(32)}`, '');
  assert.doesNotMatch(get(), /public_key/, 'the new private key is that of the peer');
});

test('a port in use causes EADDRINUSE, and the old port stays', (t) => {
  const fake = fakeInterface(t);
  fake.taken.add(7);
  const { say, device } = connection(t, fake);
  assert.equal(say('set=1', 'listen_port=7', ''), 'errno=-98\n\n');
  assert.equal(device.listenPort, FIRST_PORT);
});

test('a link-local endpoint names its interface, which must exist', (t) => {
  const { say, get } = connection(t);
  assert.equal(say('set=1', `public_key=${A}`, 'endpoint=[fe80::1%eth8]:5', ''), 'errno=-22\n\n');
  assert.equal(say('set=1', `public_key=${A}`, 'endpoint=[fe80::1%eth7]:5', ''), OK);
  assert.match(get(), /endpoint=\[fe80::1%7\]:5\n/);
});

test('get=drops returns the drop counters', (t) => {
  const { raw, engine } = connection(t);
  assert.equal(raw('get=drops\n\n'), OK);
  engine.dropped.set('replayed', 7);
  assert.equal(raw('get=drops\n\n'), `replayed=7\n${OK}`);
});

test('another connection may remove the peer of a request', (t) => {
  const fake = fakeInterface(t);
  const [one, two] = [connection(t, fake), connection(t, fake)];
  one.say('set=1', `public_key=${A}`);
  two.say('set=1', 'replace_peers=true', '');
  assert.equal(one.say('allowed_ip=10.0.0.0/8', 'persistent_keepalive_interval=5', ''), OK);
  assert.equal(one.get(), `listen_port=${FIRST_PORT}\n${OK}`);
});

test('changes of a broken connection stay in effect, and reach the data plane', (t) => {
  const { say, session, engine } = connection(t);
  say('set=1', `public_key=${A}`, 'allowed_ip=10.0.0.0/8');
  session.abort();
  assert.equal(engine.of('setAllowedIps').length, 1);
});

test('garbage does not break a session, and no key is logged', (t) => {
  const fake = fakeInterface(t);
  const line = fc.oneof(
    fc.constantFrom('set=1', 'get=1', '', `public_key=${A}`, `private_key=${'5e'.repeat(32)}`, 'remove=true'),
    fc.constantFrom(
      'allowed_ip=1.2.3.4/5',
      `preshared_key=${'5e'.repeat(31)}`,
      `x=${'5e'.repeat(32)}`,
      'replace_peers=true',
    ),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(line), fc.uint8Array(), (lines, tail) => {
      const { say, session } = connection(t, fake);
      say('set=1', ...lines);
      [...session.handle(Buffer.from(tail))];
      session.abort();
    }),
  );
  assert.ok(fake.lines.length > 0);
  assert.ok(!fake.lines.some((text) => /5e5e5e5e/.test(text)));
});

test('10 000 peers and 65 025 allowed IPs are read, and returned in parts', (t) => {
  const { raw, session } = connection(t);
  const lines = ['set=1', 'replace_peers=true'];
  for (let i = 0; i < 10_000; i++)
    lines.push(`public_key=${i.toString(16).padStart(64, '0')}`, 'allowed_ip=10.0.0.1/32');
  lines.push(`public_key=${A}`);
  for (let i = 0; i < 65_025; i++) lines.push(`allowed_ip=10.${i >> 8}.${i & 255}.0/24`);
  const text = `${lines.join('\n')}\n\n`;
  const start = performance.now();
  let answer = '';
  for (let at = 0; at < text.length; at += 65_536) answer += raw(text.slice(at, at + 65_536));
  assert.equal(answer, OK);
  const parts = [...session.handle(Buffer.from('get=1\n\n'))];
  assert.ok(performance.now() - start < 30_000, 'within seconds'); // one second on an idle machine
  assert.ok(parts.length > 20);
  assert.ok(parts.every((part) => part.length <= 65_536));
  const got = Buffer.concat(parts).toString();
  assert.equal(got.match(/^public_key=/gm)!.length, 10_001);
  assert.equal(got.match(/^allowed_ip=/gm)!.length, 65_026);
});
