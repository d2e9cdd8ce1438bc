import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findLink } from '../../src/linux/net/link.js';
import { Namespace } from '../../src/linux/process/namespace.js';
import { runProgram } from '../../src/linux/process/program.js';
import { needs } from '../kit/requirements.js';
import { ping, runOn } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import { deviceExists, LAMETUND, newKey, socketPath, WireGuard } from '../kit/wireguard.js';

const REQUIREMENTS = ['root', 'tun', 'wg'] as const;
let devices = 0;
const newName = (): string => `ld${process.pid % 100_000}x${devices++}`;

/** One of these is in the command line: from files, or from a single executable. */
const PROGRAM = [LAMETUND, '--program=cli/lametund'];

/** The processes of lametund for a device. */
const pidsOf = (device: string): number[] =>
  readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => {
      try {
        const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return device !== '' && PROGRAM.some((word) => args.includes(word)) && args.includes(device);
      } catch {
        return false; // it has exited
      }
    })
    .map(Number);

/** Whether the kernel has closed everything that a process had open. */
function hasEnded(pid: number): boolean {
  try {
    const leaderIs = readFileSync(`/proc/${pid}/stat`, 'utf8').split(')').at(-1)!;
    return / [ZX] /.test(leaderIs) && readdirSync(`/proc/${pid}/task`).length <= 1;
  } catch {
    return true;
  }
}

/** Runs lametund until the command returns. Its background process ends with the test. */
function lametund(t: TestContext, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const device = args.at(-1) ?? '';
  t.after(() => {
    for (const pid of pidsOf(device)) process.kill(pid, 'SIGKILL');
  });
  return spawnSync(process.execPath, [LAMETUND, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 60_000,
  });
}

const nothingLeft = (device: string): Promise<true> =>
  until(
    `everything of ${device} to be removed`,
    () => pidsOf(device).length === 0 && !existsSync(socketPath(device)) && !deviceExists(device),
  );

test('lametund returns silently once wg gets an answer, and runs in the background', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const device = newName();
  const start = performance.now();
  const { status, stdout, stderr } = lametund(t, [device]);
  const shown = runProgram('wg', ['show', device]);
  t.diagnostic(`start to first answer: ${(performance.now() - start).toFixed(0)} ms`);
  assert.deepEqual([status, stdout, stderr], [0, '', '']);
  assert.match(shown, new RegExp(`^interface: ${device}\\n  listening port: \\d+\\n$`));
  assert.equal(findLink(device)?.mtu, 1420);
  const [pid] = pidsOf(device);
  assert.equal(pidsOf(device).length, 1);
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  assert.equal(Number(stat[3]), pid, 'its own session');
});

/** Runs a script in a mount namespace with its own /run, without the sockets of other tests. */
const withOwnRun = (t: TestContext, device: string, script: string): string => {
  t.after(() => {
    for (const pid of pidsOf(device)) process.kill(pid, 'SIGKILL');
  });
  const prologue = 'set -e; mount -t tmpfs tmpfs /run; umask 0';
  return runProgram('unshare', [
    '--mount',
    'sh',
    '-c',
    `${prologue}; ${script}`,
    process.execPath,
    LAMETUND,
    device,
  ]);
};

test('only root can see or use the socket, whatever the umask', (t) => {
  if (!needs(t, ...REQUIREMENTS, 'unshare')) return;
  const device = newName();
  const modes = withOwnRun(
    t,
    device,
    '"$0" "$1" "$2"; stat -c %a /var/run/wireguard "/var/run/wireguard/$2.sock"',
  );
  assert.equal(modes, '700\n600\n');
});

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  test(`${signal} ends lametund, and nothing is left`, async (t) => {
    if (!needs(t, ...REQUIREMENTS)) return;
    const device = newName();
    lametund(t, [device]);
    process.kill(pidsOf(device)[0]!, signal);
    await nothingLeft(device);
  });
}

for (const background of [false, true]) {
  test(`a signal during the start in the ${background ? 'background' : 'foreground'} leaves nothing`, async (t) => {
    if (!needs(t, ...REQUIREMENTS)) return;
    const device = newName();
    t.after(() => {
      for (const pid of pidsOf(device)) process.kill(pid, 'SIGKILL');
    });
    const expected = background ? [1, 'lametund: stopped before it was ready\n'] : [0, ''];
    for (let attempt = 1; ; attempt++) {
      const child = spawn(process.execPath, [LAMETUND, ...(background ? [] : ['-f']), device], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (chunk) => (said += chunk));
      const ended = once(child, 'close');
      while (!existsSync(socketPath(device)) && child.exitCode === null) await sleep(1);
      child.kill('SIGTERM');
      const [status] = await ended;
      const wasLate = background && status === 0 && said === ''; // the signal came too late: lametund runs in the background
      if (wasLate) for (const pid of pidsOf(device)) process.kill(pid, 'SIGTERM');
      await nothingLeft(device);
      if (wasLate && attempt < 10) continue;
      assert.deepEqual([status, said], expected);
      break;
    }
  });
}

test('removing the device ends lametund, up or down, and nothing is left', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  for (const up of [false, true]) {
    const device = newName();
    lametund(t, [device]);
    if (up) runProgram('ip', ['link', 'set', device, 'up']);
    runProgram('ip', ['link', 'del', device]);
    await nothingLeft(device);
  }
});

test('removing a device with thousands of peers ends lametund as quickly', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const wireguard = await WireGuard.start(t, newName());
  const key = (i: number): string =>
    Buffer.alloc(32, 1)
      .fill(Buffer.of(i >> 8, i & 255), 0, 2)
      .toString('base64');
  const peers = Array.from({ length: 10_000 }, (_, i) => `[Peer]\nPublicKey = ${key(i)}\n`);
  wireguard.configure('setconf', peers.join(''));
  runProgram('ip', ['link', 'set', wireguard.device, 'up']);
  await until('the device to be up', () => wireguard.stdout.includes('now Up'));
  runProgram('ip', ['link', 'del', wireguard.device]);
  await until('lametund to exit', () => !wireguard.running);
  assert.equal(await wireguard.ended, 0, wireguard.stderr);
});

test('removing the socket ends lametund, and nothing is left', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const device = newName();
  lametund(t, [device]);
  rmSync(socketPath(device));
  await nothingLeft(device);
});

test('removing the whole socket directory ends lametund', async (t) => {
  if (!needs(t, ...REQUIREMENTS, 'unshare')) return;
  const device = newName();
  withOwnRun(t, device, '"$0" "$1" "$2"; wg show "$2"; rm -r /run/wireguard');
  await nothingLeft(device);
});

test('lametund leaves other sockets in the directory alone', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const [one, two] = [newName(), newName()];
  lametund(t, [one]);
  lametund(t, [two]);
  rmSync(socketPath(one));
  await nothingLeft(one);
  assert.match(runProgram('wg', ['show', two]), /listening port/);
});

test('-f, --foreground and WG_PROCESS_FOREGROUND run lametund in the foreground, with exit status 0', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  for (const [flag, variable] of [['-f'], ['--foreground'], [undefined, '1']] as const) {
    const device = newName();
    const env = variable === undefined ? process.env : { ...process.env, WG_PROCESS_FOREGROUND: variable };
    const child = spawn(process.execPath, [LAMETUND, ...(flag ? [flag] : []), device], {
      env,
      stdio: 'ignore',
    });
    t.after(() => child.kill('SIGKILL'));
    await until('an answer', () => spawnSync('wg', ['show', device]).status === 0);
    assert.deepEqual(pidsOf(device), [child.pid]);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    assert.equal(await ended, 0);
    assert.ok(!existsSync(socketPath(device)));
  }
});

test('after kill -9 the next lametund takes over the stale socket', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const device = newName();
  lametund(t, [device]);
  const [pid] = pidsOf(device);
  process.kill(pid!, 'SIGKILL');
  // The kernel removes the device first, then closes the listening socket.
  await until('both to be gone', () => !deviceExists(device) && hasEnded(pid!));
  assert.ok(existsSync(socketPath(device)));
  assert.equal(lametund(t, [device]).status, 0);
  assert.match(runProgram('wg', ['show', device]), /listening port/);
});

test('a device in use and a socket in use are clear errors', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const device = newName();
  lametund(t, [device]);
  const again = lametund(t, [device]);
  assert.equal(again.status, 1);
  assert.match(again.stderr, new RegExp(`^lametund: TUNSETIFF ${device}: .*another program is attached`));
  assert.match(runProgram('wg', ['show', device]), /listening port/, 'the first one keeps running');

  const other = newName();
  mkdirSync('/var/run/wireguard', { recursive: true });
  const server = createServer().listen(socketPath(other));
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const child = spawn(process.execPath, [LAMETUND, other], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += String(text);
  });
  assert.equal(await new Promise((resolve) => child.once('close', resolve)), 1);
  assert.match(stderr, /is in use: a daemon answers on it/);
  assert.ok(!deviceExists(other));
});

test('errors take one line, with status 1, or 2 for usage errors', (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  for (const [args, env, expected, message] of [
    [['much-too-long-a-name'], {}, 2, /^lametund: .*cannot be a device's name.*\n$/],
    [[newName()], { WG_TUN_FD: 'x' }, 2, /^lametund: WG_TUN_FD is not the number.*\n$/],
    [[newName()], { WG_TUN_FD: '0' }, 1, /^lametund: TUNGETIFF 0: .*\n$/],
  ] as const) {
    const { status, stderr } = lametund(t, args, env);
    assert.equal(status, expected);
    assert.match(stderr, message);
  }
});

test('usage and version', (t) => {
  const usage = 'Usage: lametund [-f/--foreground] INTERFACE-NAME\n';
  for (const args of [[], ['-x'], ['a', 'b'], ['-f'], ['-f', 'a', 'b'], ['-f', '-h'], ['--version', 'a']]) {
    const { status, stdout, stderr } = lametund(t, args);
    assert.deepEqual([status, stdout, stderr], [2, '', usage], args.join(' '));
  }
  for (const args of [['--help'], ['-h']]) {
    const { status, stdout, stderr } = lametund(t, args);
    assert.deepEqual([status, stdout.startsWith(usage), stderr], [0, true, ''], args.join(' '));
  }
  assert.match(lametund(t, ['--version']).stdout, /^lametund v\d+\.\d+\.\d+\n/);
});

test('logs go to standard output in the format of wireguard-go, and contain no key', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const wireguard = await WireGuard.start(t, newName());
  const [own, peer] = [newKey(), newKey()];
  wireguard.set('private-key', own.privateKey, 'peer', peer.publicKey, 'allowed-ips', '10.0.0.0/8');
  await wireguard.stop();
  assert.match(
    wireguard.stdout,
    new RegExp(
      `^DEBUG: \\(${wireguard.device}\\) \\d{4}/\\d\\d/\\d\\d \\d\\d:\\d\\d:\\d\\d Device started$`,
      'm',
    ),
  );
  assert.match(
    wireguard.stdout,
    new RegExp(`peer\\(${peer.publicKey.slice(0, 4)}….{4}\\) - UAPI: Created`.replaceAll('+', '\\+')),
  );
  for (const { privateKey } of [own, peer]) {
    const hex = Buffer.from(privateKey, 'base64').toString('hex');
    assert.ok(!wireguard.stdout.includes(privateKey) && !wireguard.stdout.includes(hex));
  }
});

test('a device that is moved to another namespace keeps working, and its removal is noticed', async (t) => {
  if (!needs(t, ...REQUIREMENTS, 'netns')) return;
  const wireguard = await WireGuard.start(t, newName());
  const { device } = wireguard;
  const namespace = Namespace.create(`ld-${process.pid}`);
  t.after(() => namespace.remove());
  const states = (): string[] =>
    [...wireguard.stdout.matchAll(/now (Up|Down)|MTU updated: (\d+)/g)].map(([, a, b]) => (a ?? b)!);
  runProgram('ip', ['link', 'set', device, 'netns', namespace.name]);
  namespace.ip([`link set ${device} up`]);
  await until('the device to be up', () => states().at(-1) === 'Up');
  namespace.ip([`link set ${device} mtu 1300`]);
  await until('the MTU to change', () => states().at(-1) === '1300');
  namespace.ip([`link set ${device} down`]);
  await until('the device to be down', () => states().at(-1) === 'Down');
  assert.match(wireguard.show(), /listening port/);
  namespace.ip([`link del ${device}`]);
  assert.equal(await wireguard.ended, 0, wireguard.stderr);
  assert.ok(!existsSync(socketPath(device)));
});

test('deleting the namespace that a device was moved to ends lametund', async (t) => {
  if (!needs(t, ...REQUIREMENTS, 'netns')) return;
  const wireguard = await WireGuard.start(t, newName());
  const namespace = Namespace.create(`lk-${process.pid}`);
  t.after(() => namespace.remove());
  runProgram('ip', ['link', 'set', wireguard.device, 'netns', namespace.name]);
  namespace.ip([`link set ${wireguard.device} up`]);
  await until('the device to be up', () => /now Up/.test(wireguard.stdout));
  namespace.remove();
  assert.equal(await wireguard.ended, 0, wireguard.stderr);
  assert.ok(!existsSync(socketPath(wireguard.device)));
});

test('sending to an address without a peer fails at once', async (t) => {
  if (!needs(t, ...REQUIREMENTS, 'netns', 'ping')) return;
  const namespace = Namespace.create(`lu-${process.pid}`);
  t.after(() => namespace.remove());
  const wireguard = await WireGuard.start(t, newName(), 'lametund', namespace);
  const [own, peer] = [newKey(), newKey()];
  wireguard.set(
    'private-key',
    own.privateKey,
    'peer',
    peer.publicKey,
    'allowed-ips',
    '10.9.0.2/32,fd09::2/128',
  );
  namespace.sysctl({ 'net.ipv4.conf.all.rp_filter': 1 });
  namespace.ip([
    `address add 10.9.0.1/24 dev ${wireguard.device}`,
    `address add fd09::1/64 dev ${wireguard.device} nodad`,
    `link set ${wireguard.device} up`,
  ]);
  await wireguard.isUp();
  // .9 belongs to no peer; .2 belongs to a peer without an endpoint.
  for (const to of ['10.9.0.9', '10.9.0.2', 'fd09::9', 'fd09::2']) {
    const { output } = await ping(namespace, to, { wait: 60 });
    assert.match(output, /Destination Host Unreachable|Address unreachable/, `to ${to}`);
    const { status, stderr } = await runOn(namespace, process.execPath, ['-e', CONNECT, to]);
    assert.deepEqual([status, stderr], [0, 'EHOSTUNREACH'], `to ${to}`);
  }
});

/** Connects, and prints the error code. */
const CONNECT = `require('net').connect(80, process.argv[1]).on('error', (e) => process.stderr.write(e.code))`;

/** A folder for wg-quick: its configuration, and a substitute for resolvconf. */
function wgQuick(t: TestContext, device: string, config: string) {
  const folder = `/run/wg-quick-${device}`;
  mkdirSync(folder, { mode: 0o700 });
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(`${folder}/${device}.conf`, config, { mode: 0o600 });
  writeFileSync(
    `${folder}/resolvconf`,
    `#!/bin/sh\necho "$*" >>${folder}/resolvconf.log; cat >>${folder}/resolvconf.log\n`,
  );
  writeFileSync(`${folder}/lametund`, `#!/bin/sh\nexec '${process.execPath}' '${LAMETUND}' "$@"\n`);
  for (const program of ['resolvconf', 'lametund']) chmodSync(`${folder}/${program}`, 0o755);
  const env = {
    ...process.env,
    PATH: `${folder}:${process.env['PATH']}`,
    WG_QUICK_USERSPACE_IMPLEMENTATION: 'lametund',
  };
  return {
    folder,
    run: (verb: 'up' | 'down'): void => {
      runProgram('wg-quick', [verb, `${folder}/${device}.conf`], { env, timeout: 120_000 });
    },
    log: (): string => readFileSync(`${folder}/resolvconf.log`, 'utf8'),
  };
}

test('wg-quick up and down: addresses, MTU, DNS, hooks', async (t) => {
  if (!needs(t, ...REQUIREMENTS, 'wg-quick')) return;
  const device = newName();
  const [own, peer] = [newKey(), newKey()];
  const quick = wgQuick(
    t,
    device,
    `[Interface]
PrivateKey = ${own.privateKey}
Address = 10.7.0.1/24, fd07::1/64
MTU = 1380
DNS = 10.7.0.53
PostUp = echo up %i >/run/wg-quick-%i/hooks
PostDown = echo down %i >>/run/wg-quick-%i/hooks

[Peer]
PublicKey = ${peer.publicKey}
Endpoint = 192.0.2.1:51820
AllowedIPs = 10.7.0.0/24, fd07::/64, 10.8.0.0/16
`,
  );
  t.after(() => {
    for (const pid of pidsOf(device)) process.kill(pid, 'SIGKILL');
  });
  quick.run('up');
  const shown = runProgram('ip', ['addr', 'show', 'dev', device]);
  assert.match(shown, /<[^>]*\bUP\b.*mtu 1380/);
  assert.match(shown, /inet 10\.7\.0\.1\/24/);
  assert.match(shown, /inet6 fd07::1\/64/);
  assert.match(runProgram('ip', ['route', 'show', 'dev', device]), /10\.8\.0\.0\/16/);
  assert.match(quick.log(), /-a (tun\.)?\S+ .*\n(?:.*\n)*nameserver 10\.7\.0\.53/);
  quick.run('down');
  assert.equal(readFileSync(`${quick.folder}/hooks`, 'utf8'), `up ${device}\ndown ${device}\n`);
  assert.match(quick.log(), /-d /);
  await nothingLeft(device);
});

test('wg-quick with a default route sets a mark on the tunnel’s own packets', async (t) => {
  if (!needs(t, ...REQUIREMENTS, 'wg-quick', 'nft')) return;
  const device = newName();
  const quick = wgQuick(
    t,
    device,
    `[Interface]
PrivateKey = ${newKey().privateKey}
Address = 10.7.1.1/24

[Peer]
PublicKey = ${newKey().publicKey}
Endpoint = 192.0.2.1:51820
AllowedIPs = 0.0.0.0/0
`,
  );
  t.after(() => {
    for (const pid of pidsOf(device)) process.kill(pid, 'SIGKILL');
  });
  quick.run('up');
  const mark = Number(runProgram('wg', ['show', device, 'fwmark']));
  assert.ok(mark >= 51_820);
  assert.match(runProgram('ip', ['route', 'show', 'table', `${mark}`]), new RegExp(`default dev ${device}`));
  assert.match(runProgram('ip', ['rule']), /suppress_prefixlength 0/);
  quick.run('down');
  assert.doesNotMatch(runProgram('ip', ['rule']), /suppress_prefixlength/);
  await nothingLeft(device);
});
