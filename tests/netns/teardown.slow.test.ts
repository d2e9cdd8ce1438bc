import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ADDRESS, OFFICE_LAN } from '../../src/demo/topology.js';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { Lab, OFFICE_ADDRESSES } from '../kit/lab.js';
import { needs } from '../kit/requirements.js';
import { assertPing } from '../kit/traffic.js';

/** The program undoes its changes, however it ends. */

const canRun = (t: TestContext): boolean => needs(t, 'root', 'tun', 'netns', 'nft', 'ping');

/** Everything on a host that the program might change, line by line. */
function stateOf(host: Namespace): string[] {
  const lines = (program: string, ...args: string[]) => host.run(program, args).trim().split('\n');
  return [
    // Without the carrier state, which depends on whether a process has the device open.
    ...lines('ip', '-o', 'link').map((line) =>
      line
        .replace(/^\d+: | state \S+/g, '')
        .replace(/<.*?>/, (flags) => (/\bUP\b/.test(flags) ? 'up' : 'down')),
    ),
    ...lines('ip', '-o', 'address', 'show', 'scope', 'global').map((line) =>
      line.replace(/^\d+:|valid_lft.*/g, ''),
    ),
    // Without routes that the kernel adds itself, some of them later.
    ...[
      ...lines('ip', 'route', 'show', 'table', 'all'),
      ...lines('ip', '-6', 'route', 'show', 'table', 'all'),
    ]
      .filter((line) => !/table local|^fe80:|^multicast|^anycast/.test(line))
      .map((line) => line.replace(/ linkdown| dead/g, '').trim()),
    ...lines('nft', 'list', 'ruleset'),
    ...lines('cat', '/proc/sys/net/ipv4/ip_forward', '/proc/sys/net/ipv6/conf/all/forwarding'),
  ];
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`after ${signal} the machine is as it was before, and the exit status is 0`, async (t) => {
    if (!canRun(t)) return;
    const lab = new Lab(t);
    const hosts = [lab.net.laptop, lab.net.gateway];
    const before = hosts.map(stateOf);
    const tunnels = [await lab.office(), await lab.home()];
    await assertPing(lab.net.laptop, ADDRESS.server.v4);
    for (const [i, host] of hosts.entries()) assert.notDeepEqual(stateOf(host), before[i]);
    for (const tunnel of tunnels) {
      assert.equal(await tunnel.stop(signal), 0);
      assert.equal(tunnel.all('end')[0]?.reason, 'stopped');
      assert.equal(tunnel.stderr, '');
    }
    for (const [i, host] of hosts.entries()) assert.deepEqual(stateOf(host), before[i]);
  });
}

test('an existing device is restored', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  const { laptop } = lab.net;
  laptop.ip([
    'tuntap add dev tun0 mode tun',
    'address add 10.9.9.9/32 dev tun0',
    'link set tun0 mtu 1400 up',
    'route add 192.168.77.0/24 dev tun0',
  ]);
  const before = stateOf(laptop);
  const home = await lab.home();
  assert.equal((await home.event('start')).mtu, 1468);
  await home.stop();
  assert.deepEqual(stateOf(laptop), before);
});

test('after kill -9 with --forward, the next start cleans up, and its end leaves nothing', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  const { gateway } = lab.net;
  const before = stateOf(gateway);
  const first = await lab.office();
  await first.stop('SIGKILL');
  assert.notDeepEqual(stateOf(gateway), before, 'control: the killed process left something');
  const second = await lab.office();
  await lab.home();
  await assertPing(lab.net.laptop, ADDRESS.server.v4);
  await second.stop();
  assert.deepEqual(stateOf(gateway), before);
});

test('after kill -9 with --forward, a start without --forward cleans up', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  const { gateway } = lab.net;
  const before = stateOf(gateway);
  await (await lab.office()).stop('SIGKILL');
  const second = await lab.lametun(gateway, ['-listen', ...OFFICE_ADDRESSES]).ready();
  assert.doesNotMatch(gateway.run('nft', ['list', 'ruleset']), /masquerade/);
  await second.stop();
  assert.deepEqual(stateOf(gateway), before);
});

test('a start without --forward works silently with a read-only /run', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  const wrapper = ['sh', '-c', 'mount -t tmpfs -o ro tmpfs /run && exec "$@"', 'sh'];
  const home = await lab.lametun(lab.net.laptop, lab.homeArguments(), { wrapper }).ready();
  assert.deepEqual(home.all('warning'), []);
  const office = lab.lametun(lab.net.gateway, ['-listen', '--forward'], { wrapper });
  assert.equal(await office.ended, 1);
  assert.match(office.stderr, /^lametun: open \/run\/lametun\/lock: [^:]+: [^\n]*make \/run writable\n$/);
});

test('two forwarding devices are independent: stopping one leaves the other', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  const { gateway } = lab.net;
  const before = stateOf(gateway);
  const first = await lab.office();
  const second = await lab
    .lametun(gateway, [
      ...['-listen', '--device', 'tun1', '--port', '1235', '--address', '10.1.0.1/24', '--forward'],
    ])
    .ready();
  await second.stop();
  await lab.home();
  await assertPing(lab.net.laptop, ADDRESS.server.v4);
  await first.stop();
  assert.deepEqual(stateOf(gateway), before);
});

test('an unprivileged user can run the tunnel on a device prepared for that user', async (t) => {
  if (!canRun(t) || !needs(t, 'setpriv')) return;
  const lab = new Lab(t);
  const { laptop } = lab.net;
  await lab.office();
  laptop.ip([
    'tuntap add dev tun0 mode tun user 65534',
    'address add 10.0.0.2/24 dev tun0',
    'link set tun0 mtu 1468 up',
    `route add ${OFFICE_LAN.v4} dev tun0`,
  ]);
  // The user may read every file, because this clone may be in a private directory; nothing else.
  const wrapper = [
    ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--no-new-privs'],
    ...['--inh-caps=-all,+dac_read_search', '--ambient-caps=-all,+dac_read_search'],
  ];
  const home = await lab.lametun(laptop, ['-server', ADDRESS.office.v4], { wrapper }).ready();
  await assertPing(laptop, ADDRESS.server.v4);
  assert.deepEqual(home.all('warning'), []);
  assert.equal(await home.stop(), 0);
  assert.match(laptop.run('ip', ['-o', 'address']), /10\.0\.0\.2\/24 .*tun0/);
});
