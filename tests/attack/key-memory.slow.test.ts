import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { base64, crypto, HandmadePeer, hex, random, randomKey } from '../kit/attacker.js';
import { findInMemory } from '../kit/process-memory.js';
import { needs } from '../kit/requirements.js';
import { Siege } from '../kit/siege.js';
import { until } from '../kit/wait.js';
import { socketPath } from '../kit/wireguard.js';

/** Keys are in memory only as long as they are needed, and nowhere else. */

const canRun = (t: TestContext): boolean => needs(t, 'root', 'tun', 'netns', 'wg');

/** The secrets found in the device's memory, and how often. Each half of a secret is searched for separately. */
function found(siege: Siege, secrets: Readonly<Record<string, Uint8Array>>): Record<string, number> {
  const names: Record<string, number> = {};
  for (const { what } of findInMemory(siege.device.pid, secrets)) names[what] = (names[what] ?? 0) + 1;
  return names;
}

/** The names of the secrets, without the half. */
const namesOf = (names: Record<string, number>): string[] =>
  [...new Set(Object.keys(names).map((name) => name.split(':')[0]!))].sort();

/** Asserts that only the expected secrets are left in memory, within this many searches: both threads need a turn. */
async function onlyThese(
  siege: Siege,
  secrets: Readonly<Record<string, Uint8Array>>,
  expected: readonly string[],
  searches = 100,
): Promise<void> {
  for (let i = 0; i < searches; i++) {
    await sleep(100);
    if (namesOf(found(siege, secrets)).join() === expected.join()) return;
  }
  assert.deepEqual(namesOf(found(siege, secrets)), expected);
}

/** Makes the garbage collector run, by handshakes of strangers and answers to `wg`. */
async function stir(siege: Siege): Promise<void> {
  const socket = siege.open('192.0.2.3');
  const stranger = new HandmadePeer(siege.publicKey);
  for (let i = 0; i < 10; i++) siege.device.show('dump');
  await siege.flood(socket, 3000, () => stranger.initiation().message, 100);
  socket.take();
}

test('memory contains keys of live sessions, but no handshake secrets, and nothing of a removed peer', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const first = await siege.handshake();
  await stir(siege);
  crypto.secrets = [];
  const second = await siege.handshake();
  const [, ...handshake] = crypto.secrets; // the first is derived from public values only
  crypto.secrets = undefined;
  const staticStatic = new Uint8Array(32);
  crypto.dh(siege.peer.privateKey, crypto.publicKey(siege.publicKey), staticStatic);
  const sessions = {
    'first sending key': first.sendingKey,
    'first receiving key': first.receivingKey,
    'second sending key': second.sendingKey,
    'second receiving key': second.receivingKey,
    'preshared key': siege.peer.presharedKey,
    'static-static secret': staticStatic,
  };
  const isSession = (secret: Uint8Array): boolean =>
    Object.values(sessions).some((key) => hex(key) === hex(secret));
  const between = Object.fromEntries(
    handshake.filter((secret) => !isSession(secret)).map((secret, i) => [`handshake secret ${i}`, secret]),
  );
  assert.ok(Object.keys(between).length >= 8, 'handshake secrets are not recorded');

  // Control: keys in use are found. A third handshake ends the first session.
  const living = found(siege, sessions);
  assert.deepEqual(namesOf(living), Object.keys(sessions).sort());
  t.diagnostic(`copies: ${JSON.stringify(living)}`);
  await onlyThese(siege, between, [], 3); // without a timer or the garbage collector
  await siege.handshake();
  await siege.handshake();
  await onlyThese(siege, sessions, ['preshared key', 'static-static secret']);

  const { sendingKey, receivingKey } = await siege.handshake();
  await stir(siege);
  siege.device.set('peer', base64(siege.peer.publicKey), 'remove');
  await onlyThese(siege, { ...sessions, ...between, sendingKey, receivingKey }, []);
});

test('replaced private and preshared keys are erased, and session keys when the device goes down', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const { device, peer } = siege;
  const { sendingKey, receivingKey } = await siege.handshake();
  const secrets = {
    'private key': siege.privateKey,
    'preshared key': peer.presharedKey,
    sendingKey,
    receivingKey,
  };
  await stir(siege); // the answer to `wg show dump` contains the keys
  const living = found(siege, secrets);
  t.diagnostic(`copies: ${JSON.stringify(living)}`);
  assert.deepEqual(namesOf(living), Object.keys(secrets).sort());

  device.ip(`link set ${device.device} down`);
  await onlyThese(siege, secrets, ['preshared key', 'private key']);
  device.set(
    'private-key',
    base64(randomKey()),
    'peer',
    base64(peer.publicKey),
    'preshared-key',
    base64(random(32)),
  );
  await onlyThese(siege, secrets, []);
});

/** Invalid requests. `KEY` is a key in hex, `B64` in base64, `ODD` one where no key belongs. */
const BAD_REQUESTS: readonly string[] = [
  'set=1\nprivate_key=KEYff\n\n',
  'set=1\nprivate_key=B64\n\n',
  'set=1\nprivate_key=KEY;\n\n',
  'set=1\nprivate_keyKEY\n\n',
  'set=1\nKEY=private_key\n\n',
  'set=1\nB64\n\n',
  'set=1\nPrivateKey=B64\n\n',
  'set=1\npreshared_key=KEY\n\n',
  'set=1\npublic_key=PUB\npreshared_key=KEYKEY\n\n',
  'set=1\npublic_key=PUB\nendpoint=ODD\n\n',
  'set=1\npublic_key=PUB\nendpoint=[fe80::1%ODD]:1\n\n',
  'set=1\npublic_key=PUB\nallowed_ip=ODD\n\n',
  'set=1\npublic_key=PUB\nprivate_key=KEY\n\n',
  'set=1\nlisten_port=ODD\n\n',
  'get=1\nKEY\n\n',
  'KEY\n\n',
  'set=1\nprivate_key=KEY', // the connection ends here
];

test('keys never appear in logs, answers, process titles, environments or files', async (t) => {
  if (!canRun(t)) return;
  const siege = await Siege.start(t);
  const { device, peer } = siege;
  const session = await siege.handshake();
  const [secret, misplaced] = [randomKey(), randomKey()];
  let answers = '';
  for (const request of BAD_REQUESTS) {
    const socket = connect(socketPath(device.device));
    socket.setEncoding('latin1').on('data', (text: string) => {
      answers += text;
    });
    await once(socket, 'connect');
    socket.end(
      request
        .replaceAll('KEY', hex(secret))
        .replaceAll('ODD', hex(misplaced))
        .replaceAll('B64', base64(secret))
        .replaceAll('PUB', hex(peer.publicKey)),
      'latin1',
    );
    await once(socket, 'close');
  }
  assert.match(answers, /errno=-22/); // control: the requests were read
  await until('an error message', () => device.stdout.includes('IPC error'));
  await siege.log();
  const secrets = [
    secret,
    misplaced,
    siege.privateKey,
    peer.presharedKey,
    session.sendingKey,
    session.receivingKey,
  ];
  const { pid } = device;
  const places: Record<string, string> = { log: device.stdout + device.stderr, answers };
  for (const name of ['cmdline', 'comm', 'environ', 'status'])
    places[name] = readFileSync(`/proc/${pid}/${name}`, 'latin1');
  for (const thread of readdirSync(`/proc/${pid}/task`))
    places[`thread ${thread}`] = readFileSync(`/proc/${pid}/task/${thread}/comm`, 'latin1');
  for (const [place, text] of Object.entries(places)) {
    for (const key of secrets) {
      for (const form of [hex(key), base64(key)]) {
        // Not even a part of a key.
        for (const part of [form.slice(0, 12), form.slice(16, 28), form.slice(-13, -1)])
          assert.ok(!text.toLowerCase().includes(part.toLowerCase()), `a key is in ${place}: ${text}`);
      }
    }
  }

  // It has only devices, sockets and the like open, and other users cannot reach its socket.
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
    assert.match(target, /^(socket:|pipe:|anon_inode:|\/dev\/(null|net\/tun)$)/, target);
  }
  const path = socketPath(device.device);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  // The first WireGuard creates the directory. wireguard-go makes it readable for others, but never writable.
  assert.equal(statSync('/var/run/wireguard').mode & 0o022, 0);
  // Nor does a key stay in memory, unless it stood for an address or a number: those become strings.
  await onlyThese(siege, { 'key of bad requests': secret }, []);
});

test('SIGUSR1 does not open the Node.js debugger, which would expose all memory to local users', async (t) => {
  if (!canRun(t)) return;
  const { device } = await Siege.start(t);
  process.kill(device.pid, 'SIGUSR1');
  await sleep(500);
  assert.ok(device.running);
  assert.equal(device.stderr, '');
  const listening = device.host!.run('cat', ['/proc/net/tcp', '/proc/net/tcp6']);
  assert.equal(listening.split('\n').filter((line) => / 0A /.test(line)).length, 0, listening);
});
