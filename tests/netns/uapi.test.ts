import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { runProgram } from '../../src/linux/process/program.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { NO_KEY, newKey, newPresharedKey, socketPath, WireGuard } from '../kit/wireguard.js';

const REQUIREMENTS = ['root', 'tun', 'wg'] as const;
let devices = 0;

/** A running lametund with its own device. */
const start = (t: TestContext): Promise<WireGuard> =>
  WireGuard.start(t, `uapi${process.pid % 10_000}x${devices++}`);

/** A connection to a device's socket. */
async function connection(t: TestContext, device: string) {
  const socket: Socket = connect(socketPath(device));
  t.after(() => socket.destroy());
  let answer = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    answer += text;
  });
  socket.on('error', () => {});
  await once(socket, 'connect');
  const say = async (text: string, answers = 1): Promise<string> => {
    answer = '';
    socket.write(text);
    await until('a response', () => answer.split('errno=').length > answers && answer.endsWith('\n\n'));
    return answer;
  };
  return { socket, say };
}

test('wg show shows everything that wg set can set', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const wireguard = await start(t);
  const [own, peer, psk] = [newKey(), newKey(), newPresharedKey()];
  wireguard.set('private-key', own.privateKey, 'listen-port', '0', 'fwmark', '0xca6c');
  wireguard.set(
    ...['peer', peer.publicKey, 'preshared-key', psk, 'endpoint', '[2001:db8::1]:51820'],
    ...['persistent-keepalive', '25', 'allowed-ips', '10.1.0.0/16,fd00::/64'],
  );
  const port = wireguard.port;
  assert.ok(port > 0);
  assert.equal(
    wireguard.show('dump'),
    `${own.privateKey}\t${own.publicKey}\t${port}\t0xca6c\n` +
      `${peer.publicKey}\t${psk}\t[2001:db8::1]:51820\t10.1.0.0/16,fd00::/64\t0\t0\t0\t25\n`,
  );
  wireguard.set('peer', peer.publicKey, 'preshared-key', NO_KEY, 'persistent-keepalive', 'off');
  assert.match(wireguard.show('dump'), /\n.*\t\(none\)\t\[2001.*\toff\n$/);
  wireguard.set('private-key', NO_KEY, 'fwmark', 'off', 'peer', peer.publicKey, 'remove');
  assert.equal(wireguard.show('dump'), `(none)\t(none)\t${port}\toff\n`);
});

test('setconf replaces, addconf adds, syncconf changes differences, showconf prints', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const wireguard = await start(t);
  const [own, a, b, c] = [newKey(), newKey(), newKey(), newKey()];
  const section = ({ publicKey }: { publicKey: string }, ip: string): string =>
    `[Peer]\nPublicKey = ${publicKey}\nAllowedIPs = ${ip}\n`;
  const base = `[Interface]\nPrivateKey = ${own.privateKey}\nListenPort = 51899\n\n`;

  wireguard.configure('setconf', base + section(a, '10.0.0.1/32') + section(b, '10.0.0.2/32'));
  assert.deepEqual(wireguard.show('peers').split('\n').sort().slice(1), [a.publicKey, b.publicKey].sort());
  wireguard.configure('addconf', section(c, '10.0.0.3/32'));
  assert.equal(wireguard.show('peers').trim().split('\n').length, 3);
  wireguard.configure('syncconf', base + section(a, '10.0.0.1/32') + section(c, '10.9.0.3/32'));
  assert.equal(
    wireguard.show('allowed-ips').trim().split('\n').sort().join('\n'),
    [`${a.publicKey}\t10.0.0.1/32`, `${c.publicKey}\t10.9.0.3/32`].sort().join('\n'),
  );
  const shown = runProgram('wg', ['showconf', wireguard.device]);
  assert.match(shown, /ListenPort = 51899\nPrivateKey = /);
  wireguard.configure('setconf', shown);
  assert.equal(runProgram('wg', ['showconf', wireguard.device]), shown);
});

test('wg reports the errno of a refused request', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const [one, two] = [await start(t), await start(t)];
  const { status, stderr } = spawnSync('wg', ['set', two.device, 'listen-port', `${one.port}`], {
    encoding: 'utf8',
  });
  assert.equal(status, 1);
  assert.match(stderr, /Address already in use/);
  assert.notEqual(two.port, one.port);
});

test('several requests on a connection, several connections at once', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const { device } = await start(t);
  const connections = await Promise.all(Array.from({ length: 20 }, () => connection(t, device)));
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(connections.map(({ say }) => say('set=1\nfwmark=7\n\nget=1\n\n', 2)));
    for (const answer of answers) assert.match(answer, /^errno=0\n\nlisten_port=\d+\nfwmark=7\nerrno=0\n\n$/);
  }
});

test('garbage on one connection harms no other', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const wireguard = await start(t);
  const { device } = wireguard;
  const good = await connection(t, device);
  await good.say('get=1\n\n'); // the connection has been accepted
  const files = wireguard.openFiles;
  for (const garbage of [
    '\0'.repeat(1_000_000),
    'x'.repeat(200_000),
    'set=1\n\xff\xfe\n\n',
    'GET / HTTP/1.1\r\n\r\n',
    'set=1\nlisten',
  ]) {
    const bad = await connection(t, device);
    bad.socket.end(Buffer.from(garbage, 'latin1'));
    assert.match(await good.say('get=1\n\n'), /^listen_port=\d+\nerrno=0\n\n$/);
  }
  await until('all connections to be closed', () => wireguard.openFiles <= files);
});

test('a client that never reads costs little memory, and delays no other', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const wireguard = await start(t);
  const { device } = wireguard;
  const { say } = await connection(t, device);
  const lines = Array.from({ length: 20_000 }, (_, i) => `allowed_ip=10.${i >> 8}.${i & 255}.0/24\n`).join(
    '',
  );
  await say(`set=1\npublic_key=${'ab'.repeat(32)}\n${lines}\n`);
  const before = wireguard.residentBytes;
  for (let i = 0; i < 20; i++) {
    const deaf = await connection(t, device);
    deaf.socket.pause();
    deaf.socket.write('get=1\n\n'.repeat(5_000));
  }
  await sleep(200);
  assert.match(await say('get=1\n\n'), /errno=0\n\n$/);
  const grown = wireguard.residentBytes - before;
  t.diagnostic(`${(grown / 2 ** 20).toFixed(1)} MB growth`);
  assert.ok(grown < 60 << 20, `${grown >> 20} MB growth`);
});

test('10 000 peers and 65 025 allowed IPs are set and shown within seconds', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const wireguard = await start(t);
  const key = (i: number): string =>
    Buffer.alloc(32, 1)
      .fill(Buffer.of(i >> 8, i & 255), 0, 2)
      .toString('base64');
  const peers = Array.from(
    { length: 10_000 },
    (_, i) => `[Peer]\nPublicKey = ${key(i)}\nAllowedIPs = fd00::${i.toString(16)}/128\n`,
  );
  const ips = Array.from({ length: 65_025 }, (_, i) => `10.${Math.floor(i / 255)}.${i % 255}.0/24`);
  const timed = (what: string, config: string): void => {
    const start = performance.now();
    wireguard.configure('setconf', config);
    const took = performance.now() - start;
    t.diagnostic(`${what}: ${took.toFixed(0)} ms`);
    assert.ok(took < 60_000, `${what} took ${took} ms`);
  };
  timed('10 000 peers', peers.join(''));
  assert.equal(wireguard.show('peers').trim().split('\n').length, 10_000);
  timed('65 025 allowed IPs', `[Peer]\nPublicKey = ${key(1)}\nAllowedIPs = ${ips.join(',')}\n`);
  assert.equal(wireguard.show('allowed-ips').trim().split(' ').length, 65_025);
});

test('lametun drops shows the drop counters', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const wireguard = await start(t);
  const main = new URL('../../src/cli/main.js', import.meta.url).pathname;
  const drops = (...args: string[]) =>
    spawnSync(process.execPath, [main, 'drops', ...args], { encoding: 'utf8' });
  wireguard.ip(`link set ${wireguard.device} up`);
  await until('a dropped packet', () => {
    spawnSync('ping', ['-c1', '-W0.1', '-I', wireguard.device, 'ff02::1']);
    const counts = JSON.parse(drops('--json', wireguard.device).stdout) as Record<string, number>;
    return (counts['no-peer'] ?? 0) > 0;
  });
  assert.match(
    drops(wireguard.device).stdout,
    /^\d+ {2}no-peer {13}no peer's allowed IPs contain the destination$/m,
  );
  const none = drops('nosuch0');
  assert.equal(none.status, 2);
  assert.match(none.stderr, /no lametund runs a device of that name/);
});
