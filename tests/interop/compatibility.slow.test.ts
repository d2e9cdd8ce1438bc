import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { needs } from '../kit/requirements.js';
import { assertPing, ping, runOn, serveTransfers, transfer } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import { type Implementation, newKey, OTHERS, ROLES, versionOf, WireGuard } from '../kit/wireguard.js';
import { PORT, WireGuardPair } from '../kit/wireguard-pair.js';

const REQUIREMENTS = ['netns', 'tun', 'wg', 'wireguard-go', 'ping'] as const;

for (const other of OTHERS) {
  test(`${other} is installed and prints its version`, (t) => {
    if (!needs(t, ...REQUIREMENTS)) return;
    const version = versionOf(other);
    assert.match(version, /^wireguard-go v\d/);
    t.diagnostic(`${other}: ${version}`);
  });
}

for (const implementations of [...ROLES, ['lametund', 'lametund']] as const) {
  const [first, second] = implementations;

  for (const [outside, preshared] of [
    [4, true],
    [6, false],
  ] as const) {
    test(`${first} to ${second} over IPv${outside}${preshared ? ' with a preshared key' : ''}`, async (t) => {
      if (!needs(t, ...REQUIREMENTS)) return;
      const pair = await WireGuardPair.start(t, { implementations, outside, preshared });
      const { first, second } = pair;
      // The first packet waits for the handshake and is not lost.
      await assertPing(first.host, second.inner.v4);
      await assertPing(second.host, first.inner.v6);
      for (const size of [0, 1, 15, 16, 17, 1391, 1392])
        await assertPing(first.host, second.inner.v4, { size, whole: true, count: 1 });
      const dump = () => first.wireguard.peers.get(second.key.publicKey)!;
      const mirrored = () => second.wireguard.peers.get(first.key.publicKey)!;
      assert.ok(dump().latestHandshake > 1_600_000_000);
      // A daemon may count a packet only after the answer has arrived.
      await until('the counters of both ends to agree', () => {
        const [ours, theirs] = [dump(), mirrored()];
        return ours.sent === theirs.received && ours.received === theirs.sent;
      });
    });
  }

  test(`${first} to ${second}: 20 MB over TCP arrive unchanged`, async (t) => {
    if (!needs(t, ...REQUIREMENTS)) return;
    const pair = await WireGuardPair.start(t, { implementations });
    const { stop } = await serveTransfers(pair.second.host);
    t.after(stop);
    const { milliseconds } = await transfer('put', pair.first.host, pair.second.inner.v4, 20_000_000);
    t.diagnostic(`${(160_000 / milliseconds).toFixed(0)} Mbit/s`);
    await transfer('get', pair.first.host, pair.second.inner.v6, 10_000_000);
  });
}

test('private key, port, mark, MTU and allowed IPs can change while packets flow', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const pair = await WireGuardPair.start(t, { implementations: ['lametund', 'wireguard-go'] });
  const { first, second } = pair;
  await assertPing(first.host, second.inner.v4);

  const fresh = newKey();
  second.wireguard.set('peer', first.key.publicKey, 'remove');
  second.wireguard.set('peer', fresh.publicKey, 'allowed-ips', `${first.inner.v4}/32`);
  first.wireguard.set('private-key', fresh.privateKey);
  await assertPing(first.host, second.inner.v4);

  first.wireguard.set('listen-port', '0', 'fwmark', '7');
  await assertPing(first.host, second.inner.v4);
  const endpoint = `${first.outer}:${first.wireguard.port}`;
  await until(
    'the peer to learn the new port',
    () => second.wireguard.peers.get(fresh.publicKey)!.endpoint === endpoint,
  );

  for (const { host, device } of [first, second]) host.ip([`link set ${device} mtu 1280`]);
  await assertPing(first.host, second.inner.v4, { size: 1252, whole: true });

  second.host.ip([`address add 10.9.9.9/32 dev ${second.device}`]);
  first.host.ip([`route add 10.9.9.9/32 dev ${first.device}`]);
  assert.equal((await ping(first.host, '10.9.9.9', { wait: 0.3 })).received, 0);
  first.wireguard.set('peer', second.key.publicKey, 'allowed-ips', `${second.inner.v4}/32,10.9.9.9/32`);
  await assertPing(first.host, '10.9.9.9');
  first.wireguard.set('peer', second.key.publicKey, 'remove');
  assert.equal((await ping(first.host, second.inner.v4, { wait: 0.3 })).received, 0);
});

test('an interface sends nothing while it is down, and works again when it is up', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const pair = await WireGuardPair.start(t, { implementations: ['wireguard-go', 'lametund'] });
  const { first, second } = pair;
  await assertPing(first.host, second.inner.v4);
  second.host.ip([`link set ${second.device} down`]);
  await until('the interface to go down', () => second.wireguard.stdout.includes('now Down'));
  const before = second.wireguard.peers.get(first.key.publicKey)!;
  assert.equal((await ping(first.host, second.inner.v4, { wait: 0.3 })).received, 0);
  const after = second.wireguard.peers.get(first.key.publicKey)!;
  assert.equal(after.sent, before.sent);
  await second.wireguard.up();
  await assertPing(second.host, first.inner.v4);
});

test('the TUN device and the UDP socket may be in different namespaces', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const pair = await WireGuardPair.start(t, { implementations: ['lametund', 'lametund'] });
  const { first, second } = pair;
  const inside = Namespace.create(`${first.device}in`);
  t.after(() => inside.remove());
  const moved = first.wireguard.stdout.length;
  first.host.ip([`link set ${first.device} netns ${inside.name}`]); // takes it down
  await until('lametund to find it there', () => first.wireguard.stdout.includes('requested Down', moved));
  const found = first.wireguard.stdout.length;
  inside.ip([`address add ${first.inner.v4}/24 dev ${first.device}`, `link set ${first.device} up`]);
  await first.wireguard.isUp(found);
  await assertPing(inside, second.inner.v4);
  await assertPing(second.host, first.inner.v4);
});

test('one interface serves 20 peers', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const [hub, spokes] = Namespace.createAll(['h', 's'].map((name) => `f${process.pid}${name}`)) as [
    Namespace,
    Namespace,
  ];
  t.after(() => [hub, spokes].map((host) => host.remove()));
  connect(
    { namespace: hub, device: 'eth0', addresses: ['192.0.2.1/24'] },
    { namespace: spokes, device: 'eth0', addresses: ['192.0.2.2/24'] },
  );
  spokes.sysctl({ 'net.ipv4.conf.all.rp_filter': 0, 'net.ipv4.conf.default.rp_filter': 0 });
  const name = `f${process.pid % 46_656}`;
  const key = newKey();
  const center = await WireGuard.start(t, name, 'lametund', hub);
  const devices = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const wireguard = await WireGuard.start(t, `${name}x${i}`, 'wireguard-go', spokes);
      const own = newKey();
      wireguard.set(
        ...['private-key', own.privateKey, 'peer', key.publicKey, 'endpoint', `192.0.2.1:${PORT}`],
        ...['allowed-ips', '10.50.0.0/24'],
      );
      return { wireguard, own, inner: `10.50.0.${i + 2}` };
    }),
  );
  center.set('private-key', key.privateKey, 'listen-port', `${PORT}`);
  center.configure(
    'addconf',
    devices
      .map(({ own, inner }) => `[Peer]\nPublicKey = ${own.publicKey}\nAllowedIPs = ${inner}/32\n`)
      .join(''),
  );
  hub.ip([`address add 10.50.0.1/24 dev ${name}`]);
  await center.up();
  // All spokes run on one host, so each address needs a route through its own device.
  spokes.ip(
    devices.flatMap(({ wireguard: { device }, inner }, i) => [
      `address add ${inner}/32 dev ${device}`,
      `link set ${device} up`,
      `route add default dev ${device} table ${1000 + i}`,
      `rule add from ${inner} table ${1000 + i}`,
    ]),
  );
  await Promise.all(devices.map(({ wireguard }) => wireguard.isUp()));
  await Promise.all(
    devices.map(async ({ inner }) => {
      const { status, stdout } = await runOn(spokes, 'ping', [
        '-c',
        '1',
        '-W',
        '30',
        '-I',
        inner,
        '10.50.0.1',
      ]);
      assert.equal(status, 0, stdout);
    }),
  );
  await Promise.all(devices.map(({ inner }) => assertPing(hub, inner)));
  assert.ok([...center.peers.values()].every(({ latestHandshake }) => latestHandshake > 0));
});

test('keepalives hold open a NAT mapping that expires after 2 seconds', async (t) => {
  if (!needs(t, ...REQUIREMENTS, 'nft')) return;
  const { host, home, homeKey, office } = await behindNat(t, 'lametund');
  await assertPing(host.laptop, '10.9.0.2');
  home.set('peer', office.key.publicKey, 'persistent-keepalive', '1');
  const received = (): number => office.wireguard.peers.get(homeKey)!.received;
  const before = received();
  await until('five keepalives', () => received() >= before + 5 * KEEPALIVE);
  await assertPing(host.gateway, '10.9.0.1');
});

/** The length of a keepalive, bytes. */
const KEEPALIVE = 32;

const NAT = `
table ip nat {
  chain postrouting { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }
  chain input { type filter hook input priority filter; iifname "wan" drop; }
}
`;

/** A tunnel from a host behind a NAT, whose mappings expire after 2 s, to a public host. */
async function behindNat(t: TestContext, implementation: Implementation) {
  const prefix = `k${process.pid % 46_656}`;
  const [laptop, router, gateway] = Namespace.createAll(['l', 'r', 'g'].map((letter) => prefix + letter)) as [
    Namespace,
    Namespace,
    Namespace,
  ];
  t.after(() => [laptop, router, gateway].map((host) => host.remove()));
  connect(
    {
      namespace: laptop,
      device: 'eth0',
      addresses: ['192.168.1.2/24'],
      routes: [{ to: 'default', via: '192.168.1.1' }],
    },
    { namespace: router, device: 'lan', addresses: ['192.168.1.1/24'] },
  );
  connect(
    { namespace: router, device: 'wan', addresses: ['192.0.2.1/24'] },
    { namespace: gateway, device: 'eth0', addresses: ['192.0.2.2/24'] },
  );
  router.sysctl({ 'net.ipv4.ip_forward': 1 });
  router.run('nft', ['-f', '-'], {
    input: NAT,
  });
  router.sysctl({
    'net.netfilter.nf_conntrack_udp_timeout': 2,
    'net.netfilter.nf_conntrack_udp_timeout_stream': 2,
  });
  const [home, office] = [
    await WireGuard.start(t, `${prefix}l`, implementation, laptop),
    await WireGuard.start(t, `${prefix}g`, 'wireguard-go', gateway),
  ];
  const [a, b] = [newKey(), newKey()];
  home.set(
    ...['private-key', a.privateKey, 'peer', b.publicKey, 'endpoint', `192.0.2.2:${PORT}`],
    ...['allowed-ips', '10.9.0.2/32'],
  );
  office.set(
    'private-key',
    b.privateKey,
    'listen-port',
    `${PORT}`,
    'peer',
    a.publicKey,
    'allowed-ips',
    '10.9.0.1/32',
  );
  laptop.ip([`address add 10.9.0.1/24 dev ${home.device}`]);
  gateway.ip([`address add 10.9.0.2/24 dev ${office.device}`]);
  await Promise.all([home.up(), office.up()]);
  return { host: { laptop, gateway }, home, homeKey: a.publicKey, office: { wireguard: office, key: b } };
}
