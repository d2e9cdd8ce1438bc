import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { LametunError } from '../../src/errors.js';
import { tableName } from '../../src/linux/host/forwarding-rules.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { type ForwardingOptions, startForwarding, sweepForwarding } from '../kit/forwarding.js';
import { needs } from '../kit/requirements.js';

const BOTH = { ipv4: true, ipv6: true };
let count = 0;

function namespaces(t: TestContext, ...names: string[]): Namespace[] {
  const made = Namespace.createAll(names.map((name) => `lt-${name}-${process.pid}-${count++}`));
  t.after(() => made.map((namespace) => namespace.remove()));
  // The kernel reuses the numbers of dead namespaces, so a state file may be stale.
  for (const namespace of made) namespace.inside(() => rmSync(stateFile(), { force: true }));
  return made;
}

/** Everything that forwarding may touch: all forwarding settings, all rules, the state files. */
function situation(namespace: Namespace): string {
  return namespace.inside(() => {
    const settings = ['ipv4', 'ipv6'].flatMap((family) =>
      readdirSync(`/proc/sys/net/${family}/conf`).flatMap((device) =>
        ['forwarding', 'accept_ra', 'accept_redirects', 'send_redirects', 'rp_filter'].flatMap((setting) => {
          const name = `/proc/sys/net/${family}/conf/${device}/${setting}`;
          return existsSync(name) ? [`${name} ${readFileSync(name, 'utf8').trim()}`] : [];
        }),
      ),
    );
    const forward = readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8').trim();
    const rules = spawnSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }).stdout;
    return [`ip_forward ${forward}`, ...settings, rules, existsSync(stateFile()) ? 'state file' : ''].join(
      '\n',
    );
  });
}

const stateFile = (): string => `/run/lametun/host-${statSync('/proc/thread-self/ns/net').ino}.json`;
const setting = (namespace: Namespace, name: string): string =>
  namespace.inside(() => readFileSync(`/proc/sys/net/${name}`, 'utf8').trim());
const tables = (namespace: Namespace): string => namespace.run('nft', ['list', 'tables']);

/** Starts a process that forwards in a namespace until it is killed. */
async function forwardingProcess(
  t: TestContext,
  namespace: Namespace,
  options: ForwardingOptions,
): Promise<ChildProcess> {
  const module = new URL('../kit/forwarding.js', import.meta.url);
  const script = `
    const { startForwarding } = await import(${JSON.stringify(module.href)});
    const forwarding = startForwarding(${JSON.stringify(options)});
    process.once('SIGTERM', () => { forwarding.stop(); process.exit(0); });
    console.log('ready');
    setInterval(() => {}, 1000);`;
  const child = namespace.spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  return child;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  child.kill(signal);
  await once(child, 'exit');
}

/** client (1500) --- tun0 (1400) gateway lan0 (1500) --- server, which has no route to the client. */
function office(t: TestContext): { client: Namespace; gateway: Namespace; server: Namespace } {
  const [client, gateway, server] = namespaces(t, 'client', 'gateway', 'server') as [
    Namespace,
    Namespace,
    Namespace,
  ];
  connect(
    {
      namespace: client,
      device: 'c0',
      addresses: ['10.0.0.2/24', 'fd00::2/64'],
      routes: [
        { to: '0.0.0.0/0', via: '10.0.0.1' },
        { to: '::/0', via: 'fd00::1' },
      ],
    },
    { namespace: gateway, device: 'tun0', addresses: ['10.0.0.1/24', 'fd00::1/64'] },
  );
  gateway.ip(['link set tun0 mtu 1400']);
  connect(
    { namespace: gateway, device: 'lan0', addresses: ['192.168.7.1/24', 'fd07::1/64'] },
    { namespace: server, device: 's0', addresses: ['192.168.7.10/24', 'fd07::10/64'] },
  );
  return { client, gateway, server };
}

/** Opens a TCP connection from `client`. @returns the client's address as the server sees it */
async function fetchFrom(
  t: TestContext,
  client: Namespace,
  server: Namespace,
  address: string,
): Promise<string> {
  const listen = `
    const server = require('net').createServer((socket) => socket.end(socket.remoteAddress));
    server.listen(8000, ${JSON.stringify(address)}, () => console.log('ready'));`;
  const listener = server.spawn(process.execPath, ['-e', listen], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => listener.kill('SIGKILL'));
  await once(listener.stdout!, 'data');
  const ask = `
    const socket = require('net').connect(8000, ${JSON.stringify(address)});
    socket.setTimeout(30_000, () => socket.destroy(new Error('timeout')));
    socket.on('error', (error) => { console.error(error.message); process.exitCode = 1; });
    socket.pipe(process.stdout);`;
  try {
    return client.run(process.execPath, ['-e', ask], { timeout: 60_000 });
  } finally {
    listener.kill('SIGKILL');
  }
}

test('a server on the LAN is reachable through the gateway, and sees the gateway as its client', async (t) => {
  if (!needs(t, 'netns', 'nft', 'ping')) return;
  const { client, gateway, server } = office(t);
  const before = situation(gateway);
  assert.throws(() => client.run('ping', ['-c1', '-W1', '192.168.7.10']), 'not before');
  const forwarding = gateway.inside(() => startForwarding({ device: 'tun0', families: BOTH }));
  client.run('ping', ['-c1', '-w20', '192.168.7.10']);
  client.run('ping', ['-c1', '-w20', 'fd07::10']);
  assert.equal(await fetchFrom(t, client, server, '192.168.7.10'), '192.168.7.1');
  assert.equal(await fetchFrom(t, client, server, 'fd07::10'), 'fd07::1');
  gateway.inside(() => forwarding.stop());
  assert.equal(situation(gateway), before, 'undone exactly');
  gateway.inside(() => forwarding.stop());
  assert.equal(situation(gateway), before, 'a second stop does nothing');
});

test('the MSS is clamped to the tunnel’s MTU in both directions', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { client, gateway, server } = office(t);
  const count = (size4: number, size6: number): string => `
    table inet watch {
      chain input {
        type filter hook input priority 0;
        meta nfproto ipv4 tcp flags & syn == syn tcp option maxseg size ${size4} counter name v4
        meta nfproto ipv6 tcp flags & syn == syn tcp option maxseg size ${size6} counter name v6
        meta nfproto ipv4 tcp flags & syn == syn tcp option maxseg size != ${size4} counter name other
        meta nfproto ipv6 tcp flags & syn == syn tcp option maxseg size != ${size6} counter name other
      }
      counter v4 {}
      counter v6 {}
      counter other {}
    }`;
  const forwarding = gateway.inside(() => startForwarding({ device: 'tun0', families: BOTH }));
  for (const namespace of [client, server]) namespace.run('nft', ['-f', '-'], { input: count(1360, 1340) });
  await fetchFrom(t, client, server, '192.168.7.10');
  await fetchFrom(t, client, server, 'fd07::10');
  for (const namespace of [client, server]) {
    const counters = namespace.run('nft', ['list', 'counters']);
    // One SYN each, or more if a late one was retransmitted.
    assert.equal(counters.match(/counter v[46] \{\n\s*packets [1-9]/g)?.length, 2, counters);
    assert.match(counters, /counter other \{\n\s*packets 0 /);
  }
  gateway.inside(() => forwarding.stop());
});

test('only the requested address families are forwarded', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const [gateway] = namespaces(t, 'family') as [Namespace];
  const forwarding = gateway.inside(() =>
    startForwarding({ device: 'tun0', families: { ipv4: true, ipv6: false } }),
  );
  assert.equal(setting(gateway, 'ipv4/ip_forward'), '1');
  assert.equal(setting(gateway, 'ipv6/conf/all/forwarding'), '0');
  assert.doesNotMatch(gateway.run('nft', ['list', 'ruleset']), /ipv6/);
  gateway.inside(() => forwarding.stop());
});

test('per-device settings that the kernel changes as a side effect are restored too', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  gateway.sysctl({
    'net.ipv4.conf.all.accept_redirects': 0,
    'net.ipv4.conf.lan0.forwarding': 1,
    'net.ipv6.conf.tun0.forwarding': 1,
    'net.ipv6.conf.lan0.accept_ra': 0,
  });
  const before = situation(gateway);
  const forwarding = gateway.inside(() => startForwarding({ device: 'tun0', families: BOTH }));
  assert.notEqual(situation(gateway), before);
  gateway.inside(() => forwarding.stop());
  assert.equal(situation(gateway), before);
});

test('a gateway still takes its default route from router advertisements', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  const accept = (): string => setting(gateway, 'ipv6/conf/lan0/accept_ra');
  assert.equal(accept(), '1');
  const forwarding = gateway.inside(() => startForwarding({ device: 'tun0', families: BOTH }));
  assert.equal(accept(), '2');
  gateway.inside(() => forwarding.stop());
  assert.equal(accept(), '1');
});

test('stopping works after a device was removed', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  const before = situation(gateway);
  gateway.ip(['link add extra0 type veth peer name extra1']);
  const one = gateway.inside(() => startForwarding({ device: 'tun0', families: BOTH }));
  assert.equal(setting(gateway, 'ipv6/conf/extra0/accept_ra'), '2');
  gateway.ip(['link del extra0']);
  const two = gateway.inside(() => startForwarding({ device: 'tun1', families: BOTH }));
  gateway.inside(() => one.stop());
  gateway.inside(() => two.stop());
  assert.equal(situation(gateway), before);
});

test('a gateway that forwarded before forwards afterwards', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  gateway.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
  const before = situation(gateway);
  gateway.inside(() => startForwarding({ device: 'tun0', families: BOTH }).stop());
  assert.equal(situation(gateway), before);
});

test('tables of other programs are left alone', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  gateway.run('nft', ['-f', '-'], {
    input: 'table inet filter { chain forward { type filter hook forward priority 0; }; }',
  });
  const before = situation(gateway);
  gateway.inside(() => startForwarding({ device: 'tun0', families: BOTH }).stop());
  assert.equal(situation(gateway), before);
});

test('a setting is restored when the last device that needs it stops, in either order', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  const before = situation(gateway);
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    gateway.inside(() => {
      const running = [
        startForwarding({ device: 'tun0', families: { ipv4: true, ipv6: false } }),
        startForwarding({ device: 'tun1', families: BOTH }),
      ];
      running[order[0]!]!.stop();
      assert.equal(setting(gateway, 'ipv4/ip_forward'), '1');
      assert.equal(
        setting(gateway, 'ipv6/conf/all/forwarding'),
        `${order[1]}`,
        'the second device needs IPv6',
      );
      assert.match(tables(gateway), new RegExp(`lametun_tun${order[1]}$`, 'm'));
      assert.doesNotMatch(tables(gateway), new RegExp(`lametun_tun${order[0]}$`, 'm'));
      running[order[1]!]!.stop();
    });
    assert.equal(situation(gateway), before);
  }
});

test('the next process undoes what a killed process left', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  const before = situation(gateway);
  await end(await forwardingProcess(t, gateway, { device: 'tun0', families: BOTH }), 'SIGKILL');
  assert.equal(setting(gateway, 'ipv4/ip_forward'), '1', 'left behind');
  gateway.inside(sweepForwarding);
  assert.equal(situation(gateway), before, 'by a sweep');

  for (const device of ['tun0', 'tun1']) {
    await end(await forwardingProcess(t, gateway, { device: 'tun0', families: BOTH }), 'SIGKILL');
    gateway.inside(() => startForwarding({ device, families: { ipv4: true, ipv6: false } }).stop());
    assert.equal(situation(gateway), before, `by one that forwards ${device}`);
  }
});

test('a sweep leaves running processes alone', async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  const before = situation(gateway);
  const living = await forwardingProcess(t, gateway, { device: 'tun0', families: BOTH });
  const during = situation(gateway);
  await end(await forwardingProcess(t, gateway, { device: 'tun1', families: BOTH }), 'SIGKILL');
  gateway.inside(sweepForwarding);
  assert.equal(situation(gateway), during);
  await end(living, 'SIGTERM');
  assert.equal(situation(gateway), before);
});

test('the late end of a previous owner does not disturb the new owner of a device', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  const before = situation(gateway);
  gateway.inside(() => {
    const first = startForwarding({ device: 'tun0', families: BOTH });
    const second = startForwarding({ device: 'tun0', families: BOTH });
    first.stop();
    assert.match(tables(gateway), /lametun_tun0$/m);
    assert.equal(setting(gateway, 'ipv4/ip_forward'), '1');
    second.stop();
  });
  assert.equal(situation(gateway), before);
});

test('a state file of a dead namespace with the same number is ignored', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  const before = situation(gateway);
  gateway.sysctl({ 'net.ipv4.ip_forward': 1 });
  gateway.inside(() => {
    startForwarding({ device: 'tun0', families: BOTH }).stop(); // creates the directory
    const stale = {
      namespace: 'of another boot 4711',
      owners: [{ pid: 999_999, startTime: 1, id: '0', device: 'tun0', noted: [] }],
      settings: [{ name: 'net/ipv4/ip_forward', before: '0', set: '1', users: ['0'], around: {} }],
    };
    writeFileSync(stateFile(), JSON.stringify(stale));
    sweepForwarding();
    assert.ok(!existsSync(stateFile()));
    assert.equal(setting(gateway, 'ipv4/ip_forward'), '1');
    writeFileSync(stateFile(), 'not JSON');
    startForwarding({ device: 'tun0', families: BOTH }).stop();
  });
  gateway.sysctl({ 'net.ipv4.ip_forward': 0 });
  assert.equal(situation(gateway), before);
});

test('processes that start and stop at the same time do not interfere', {
  timeout: 120_000,
}, async (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  const before = situation(gateway);
  const devices = ['a', 'b', 'c', 'd', 'e'];
  const all = await Promise.all(
    devices.map((device) => forwardingProcess(t, gateway, { device, families: BOTH })),
  );
  for (const device of devices) assert.match(tables(gateway), new RegExp(`lametun_${device}$`, 'm'));
  await Promise.all(all.map((child, i) => end(child, i === 2 ? 'SIGKILL' : 'SIGTERM')));
  gateway.inside(sweepForwarding);
  assert.equal(situation(gateway), before);
});

test('an unwritable setting is named, and everything is undone', (t) => {
  if (!needs(t, 'netns', 'nft', 'mount')) return;
  const { gateway } = office(t);
  const before = situation(gateway);
  const module = new URL('../kit/forwarding.js', import.meta.url);
  const script = `
    const { startForwarding } = await import(${JSON.stringify(module.href)});
    try { startForwarding({ device: 'tun0', families: { ipv4: true, ipv6: true } }); } catch (error) { console.log(error.message); }`;
  const said = gateway.run('sh', [
    '-c',
    'mount --bind /proc/sys/net/ipv6 /proc/sys/net/ipv6 && mount -o remount,ro,bind /proc/sys/net/ipv6 && exec "$0" "$@"',
    process.execPath,
    '--input-type=module',
    '-e',
    script,
  ]);
  assert.match(said, /^set the sysctl net\/ipv6\/conf\/.*: Read-only file system: .*sysctl -w/);
  assert.equal(situation(gateway), before);
});

test('without nft the error names the package, and nothing changes', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const { gateway } = office(t);
  const before = situation(gateway);
  const module = new URL('../kit/forwarding.js', import.meta.url);
  const script = `
    const { startForwarding } = await import(${JSON.stringify(module.href)});
    try { startForwarding({ device: 'tun0', families: { ipv4: true, ipv6: true } }); } catch (error) { console.log(error.code, error.message); }`;
  const hide =
    'mount -t tmpfs tmpfs /usr/sbin && [ ! -x /sbin/nft ] || mount -t tmpfs tmpfs /sbin; exec "$0" "$@"';
  const said = gateway.run('sh', ['-c', hide, process.execPath, '--input-type=module', '-e', script]);
  assert.equal(said.trim(), 'missing forwarding needs the program nft: apt install nftables');
  assert.equal(situation(gateway), before);
});

test('only root can read the state file', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  const [gateway] = namespaces(t, 'mode') as [Namespace];
  gateway.inside(() => {
    const forwarding = startForwarding({ device: 'tun0', families: BOTH });
    assert.equal(statSync('/run/lametun').mode & 0o777, 0o700);
    assert.equal(statSync(stateFile()).mode & 0o777, 0o600);
    forwarding.stop();
  });
});

test('every device name maps to a distinct valid nft table name', (t) => {
  if (!needs(t, 'netns', 'nft')) return;
  assert.equal(tableName('tun0'), 'lametun_tun0');
  assert.equal(tableName('a.b'), 'lametun_a_2eb');
  assert.notEqual(tableName('a_2eb'), tableName('a.b'));
  const [gateway] = namespaces(t, 'names') as [Namespace];
  const before = situation(gateway);
  gateway.inside(() => {
    for (const device of ['-_=+.-', '0', 'forward', 'lametun_tun0', 'eth0.5']) {
      startForwarding({ device, families: BOTH }).stop();
    }
    for (const device of ['', 'a"b', 'tun*', 'a b', '0123456789abcdef']) {
      const usage = (error: unknown): boolean => error instanceof LametunError && error.code === 'usage';
      assert.throws(() => startForwarding({ device, families: BOTH }), usage);
    }
  });
  assert.equal(situation(gateway), before);
});
