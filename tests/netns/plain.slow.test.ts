import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { ADDRESS } from '../../src/demo/topology.js';
import { UdpSocket } from '../../src/linux/net/udp.js';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { INNER, Lab } from '../kit/lab.js';
import { needs } from '../kit/requirements.js';
import { assertPing, ping, runOn, TRANSFER_PORT, transfer } from '../kit/traffic.js';
import { until } from '../kit/wait.js';

/** The tunnel of the post between a home and an office, with real devices, routers and a hard NAT. */

const canRun = (t: TestContext): boolean => needs(t, 'root', 'tun', 'netns', 'nft', 'ping');
const MB = 1_000_000;
const { server } = ADDRESS;

for (const outer of ['v4', 'v6'] as const) {
  test(`the laptop reaches the server behind the gateway through a NAT, outside IP${outer}`, async (t) => {
    if (!canRun(t)) return;
    const lab = new Lab(t);
    await lab.serve();
    assert.equal((await ping(lab.net.laptop, server.v4)).received, 0, 'reachable without a tunnel');
    await lab.office();
    const home = await lab.home(0, ADDRESS.office[outer]);

    // The largest packet on a 1500-byte path, with 4 bytes of packet information, 8 of UDP, and 20 or 40 of IP around it.
    const mtu = outer === 'v4' ? 1468 : 1448;
    assert.equal((await home.event('start')).mtu, mtu);
    for (const inner of ['v4', 'v6'] as const) {
      await assertPing(lab.net.laptop, server[inner]);
      const headers = inner === 'v4' ? 28 : 48;
      await assertPing(lab.net.laptop, server[inner], { size: mtu - headers, whole: true, count: 1 });
      const tooLarge = await ping(lab.net.laptop, server[inner], { size: mtu - headers + 1, whole: true });
      assert.match(tooLarge.output, /message too long/i);
      await transfer('put', lab.net.laptop, server[inner], 10 * MB);
      await transfer('get', lab.net.laptop, server[inner], 10 * MB);
    }
    for (const host of [lab.net.laptop, lab.net.gateway]) {
      assert.equal(fragments(host), 0, `${host.name} has fragmented packets`);
    }
  });
}

test('on a path too narrow for IPv6 inside, the device keeps the minimum MTU of IPv6', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t, { mtu: 1300 });
  await lab.office();
  const home = await lab.home();
  assert.equal((await home.event('start')).mtu, 1280);
  await assertPing(lab.net.laptop, INNER.office.v6, { size: 1280 - 48, whole: true });
});

/** How many packets a host has fragmented or reassembled, /proc/net/snmp and snmp6. */
function fragments(host: Namespace): number {
  const [names, values] = host
    .inside(() => readFileSync('/proc/thread-self/net/snmp', 'utf8'))
    .split('\n')
    .filter((line) => line.startsWith('Ip:'))
    .map((line) => line.split(' '));
  const v6 = host.inside(() => readFileSync('/proc/thread-self/net/snmp6', 'utf8'));
  let sum = 0;
  for (const counter of ['ReasmReqds', 'FragCreates']) {
    const column = names!.indexOf(counter);
    assert.ok(column > 0);
    sum += Number(values![column]) + Number(new RegExp(`^Ip6${counter}\\s+(\\d+)$`, 'm').exec(v6)![1]);
  }
  return sum;
}

test('two clients with the same private addresses share one listener at the same time', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t, { homes: 2 });
  await lab.serve();
  const office = await lab.office();
  await Promise.all([lab.home(0), lab.home(1)]);
  const [first, second] = lab.net.homes.map(({ laptop }) => laptop);
  await Promise.all([assertPing(first!, server.v4), assertPing(second!, server.v4)]);
  await Promise.all([
    transfer('put', first!, server.v4, 5 * MB),
    transfer('get', second!, server.v4, 5 * MB),
    transfer('get', first!, server.v6, 5 * MB),
    transfer('put', second!, server.v6, 5 * MB),
  ]);
  await assertPing(first!, INNER.home(1).v4);
  await office.event('stats', ({ clients }) => clients === 2);
  for (const i of [0, 1]) {
    const learned = await office.event('learned', ({ inner }) => inner === INNER.home(i).v4);
    assert.equal(learned.outer.split(':')[0], lab.net.homes[i]!.public4);
  }

  // With two clients, an unknown destination belongs to neither.
  await ping(lab.net.gateway, '10.0.0.99', { wait: 0.2 });
  await office.event('stats', ({ drops }) => (drops['no-client'] ?? 0) >= 1);
});

test('a single client gets packets for destinations not seen as a source yet', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  await lab.office();
  await lab.home();
  const { laptop } = lab.net;
  await assertPing(laptop, INNER.office.v4);
  laptop.ip(['address add 10.0.0.77/32 dev tun0']);
  await assertPing(lab.net.gateway, '10.0.0.77');
});

for (const { how, signal, to } of [
  { how: 'killed', signal: 'SIGKILL', to: server.v4 },
  // Not to a host behind the gateway: an orderly stop removes its NAT rules, which breaks connections.
  { how: 'stopped', signal: 'SIGTERM', to: INNER.office.v4 },
] as const) {
  test(`a transfer continues after the listener was ${how} and restarted`, async (t) => {
    if (!canRun(t)) return;
    const lab = new Lab(t);
    await lab.serve(to === server.v4 ? lab.net.server : lab.net.gateway);
    const office = await lab.office();
    const home = await lab.home();
    await assertPing(lab.net.laptop, server.v4);
    // At full speed the transfer could finish before the listener has ended.
    const limit = ['rate', '100mbit', 'burst', '256kb', 'latency', '50ms'];
    lab.net.laptop.run('tc', ['qdisc', 'add', 'dev', 'eth0', 'root', 'tbf', ...limit]);
    const sent = () => home.stats?.bytesOut ?? 0;
    const all = transfer('put', lab.net.laptop, to, 50 * MB);
    await until('the transfer to run', () => sent() > 2 * MB);
    await office.stop(signal);
    assert.ok(sent() < 50 * MB, 'the transfer finished before the listener ended');
    await lab.office();
    await all;
    await assertPing(lab.net.laptop, server.v4);
    assert.ok(home.running);
  });
}

test('the listener follows a client that returns from another port', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  const office = await lab.office();
  const first = await lab.home();
  await assertPing(lab.net.laptop, server.v4);
  await first.stop();
  const holder = lab.net.laptop.inside(() => UdpSocket.open(1234));
  t.after(() => holder.close());
  const second = await lab.home();
  assert.match(
    (await second.event('warning')).message,
    /UDP port 1234 is taken on this machine: using \d+ here/,
  );
  await assertPing(lab.net.laptop, server.v4);
  const learned = await until('the listener to report it', () => {
    const all = office.all('learned').filter(({ inner }) => inner === INNER.home(0).v4);
    return all.length > 1 && all;
  });
  assert.equal(learned.length, 2);
  assert.notEqual(learned[0]!.outer, learned[1]!.outer);
});

test('the tunnel works on a device that was prepared by hand as in the post', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  const prepare = (host: Namespace, address: string) =>
    host.ip(['tuntap add dev tun0 mode tun', `address add ${address}/24 dev tun0`, 'link set tun0 up']);
  prepare(lab.net.gateway, '10.0.0.1');
  prepare(lab.net.laptop, '10.0.0.2');
  const office = await lab.lametun(lab.net.gateway, ['-listen']).ready();
  const home = await lab.lametun(lab.net.laptop, ['-server', ADDRESS.office.v4]).ready();
  const { attached, mtu } = await home.event('start');
  assert.deepEqual({ attached, mtu }, { attached: true, mtu: 1500 });
  await assertPing(lab.net.laptop, '10.0.0.1');
  assert.deepEqual([await home.stop('SIGINT'), await office.stop()], [0, 0]);
  assert.match(lab.net.laptop.run('ip', ['-o', 'address']), /10\.0\.0\.2\/24 .*tun0/);
});

test('an observer on the internet can read the traffic, as the warning at the start says', async (t) => {
  if (!canRun(t) || !needs(t, 'tshark')) return;
  const lab = new Lab(t);
  await lab.serve();
  await lab.office();
  const home = lab.lametun(lab.net.laptop, lab.homeArguments(), { text: true });
  await until('the warning', () => /NEITHER ENCRYPTED NOR AUTHENTICATED/.test(home.stderr));
  await assertPing(lab.net.laptop, server.v4);
  const show = ['-T', 'fields', '-e', 'udp.payload'];
  const capture = lab.net.internet.spawn('tshark', ['-l', '-i', 'home0', '-f', 'udp port 1234', ...show], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => capture.kill('SIGKILL'));
  let seen = '';
  let said = '';
  capture.stdout!.setEncoding('latin1').on('data', (text: string) => {
    seen += text;
  });
  capture.stderr!.setEncoding('latin1').on('data', (text: string) => {
    said += text;
  });
  await until('tshark to listen', () => said.includes('Capturing on'));
  await until('the text on the wire', async () => {
    await runOn(lab.net.laptop, 'bash', ['-c', `echo 'get 1' > /dev/tcp/${server.v4}/${TRANSFER_PORT}`]);
    return seen.includes(Buffer.from('get 1').toString('hex'));
  });
});
