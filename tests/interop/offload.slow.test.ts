import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { computeChecksumsInKernel } from '../../src/linux/net/packet-socket.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { OFFLOADS, type Offload } from '../../src/tunnel/offloads.js';
import { type Datagram, Datagrams, injectPackets } from '../kit/datagrams.js';
import {
  assertAmong,
  assertDatagrams,
  assertDatagramsUnchanged,
  assertSame,
  type Exchange,
  noise,
  oddDatagrams,
  PORT,
} from '../kit/odd-datagrams.js';
import { makePacket } from '../kit/packets.js';
import { needs } from '../kit/requirements.js';
import { assertPing, runOn, serveTransfers, transfer } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import { FURTHER, type Implementation, ROLES } from '../kit/wireguard.js';
import { type End, type PairOptions, WireGuardPair } from '../kit/wireguard-pair.js';

const REQUIREMENTS = ['netns', 'tun', 'wg', 'ping'] as const;

const LAMETUNDS: readonly [Implementation, Implementation] = ['lametund', 'lametund'];

interface Started extends Exchange {
  readonly pair: WireGuardPair;
}

async function start(t: TestContext, options: Partial<PairOptions> = {}): Promise<Started> {
  const pair = await WireGuardPair.start(t, { implementations: LAMETUNDS, ...options });
  await assertPing(pair.first.host, pair.second.inner.v4, { count: 1 });
  const { stop } = await serveTransfers(pair.second.host);
  t.after(stop);
  const [from, to] = [pair.first, pair.second].map(({ host, inner }) => ({
    socket: new Datagrams(t, host, PORT),
    inner,
  }));
  return { pair, from: from!, to: to! };
}

/** The MTUs of the device and of the cable. If the cable's is too small, datagrams are sent in fragments. */
const MTUS = [
  [1280, 1500],
  [1420, 1500],
  [1500, 1500],
  [4000, 4080],
  [9000, 9080],
  [9000, 1500],
  [65_000, 65_080],
] as const;

/** The overhead of a packet over IPv4, bytes: the outer headers, WireGuard's header and its tag. */
const OVERHEAD = 20 + 8 + 16 + 16;

/** lametund at both ends over both IP versions; with other implementations over IPv4, in both roles. */
const AT_EVERY_MTU = [
  { implementations: LAMETUNDS, outside: 4 },
  { implementations: LAMETUNDS, outside: 6 },
  ...ROLES.map((implementations) => ({ implementations, outside: 4 }) as const),
] as const;

for (const { implementations, outside } of AT_EVERY_MTU) {
  const [first, second] = implementations;
  test(`${first} to ${second} over IPv${outside}: streams and datagrams arrive unchanged at every MTU`, async (t) => {
    if (!needs(t, ...REQUIREMENTS)) return;
    const started = await start(t, { implementations, outside });
    const { pair } = started;
    const ends = [pair.first, pair.second];
    for (const [i, [mtu, outer]] of MTUS.entries()) {
      // Newer versions of wireguard-go lose runs that would need fragmentation.
      if (implementations.includes(FURTHER) && mtu + OVERHEAD > outer) continue;
      for (const { host, device } of ends) {
        host.ip([`link set eth0 mtu ${outer}`, `link set ${device} mtu ${mtu}`]);
      }
      for (const { wireguard } of ends) {
        const note = new RegExp(`MTU updated: ${mtu}\\n[^]*$`);
        await until(`MTU ${mtu}`, () => mtu === 1420 || note.test(wireguard.stdout));
      }
      const inner = i % 2 ? pair.second.inner.v6 : pair.second.inner.v4;
      await transfer('put', pair.first.host, inner, 2_000_001 + 1367 * i);
      await transfer('get', pair.first.host, inner, 1_000_003 - 977 * i);
      const exact = implementations === LAMETUNDS;
      await (exact ? assertDatagrams : assertDatagramsUnchanged)(started, mtu);
    }
  });
}

for (const implementations of [LAMETUNDS, ...ROLES]) {
  const [first, second] = implementations;
  test(`${first} to ${second}: streams, datagrams and pings at once, with all traffic classes`, async (t) => {
    if (!needs(t, ...REQUIREMENTS, 'wireguard-go')) return;
    const started = await start(t, { implementations });
    const { pair, from, to } = started;
    await assertDatagrams(started, 1420);
    const here = pair.first.host;
    const { v4, v6 } = pair.second.inner;
    let streaming = true;
    const streams = Promise.all([
      transfer('put', here, v4, 4_000_001),
      transfer('put', here, v6, 4_000_007),
      transfer('get', here, v4, 4_000_003),
    ]).finally(() => {
      streaming = false;
    });
    const pings = Promise.all(
      ['0x02', '0xb9'].map((mark) =>
        runOn(here, 'ping', ['-n', '-c', '40', '-i', '0.05', '-W', '2', '-s', '1200', '-Q', mark, v4]),
      ),
    );
    const sent: Datagram[] = [];
    let found = 0;
    let round = 0;
    for (; streaming || round < 5; round++) {
      const batch = oddDatagrams(1420)[round % 6]!;
      from.socket.send(v6, PORT, batch);
      sent.push(...batch);
      // Queues are full: datagrams may be lost, but not changed, duplicated or reordered.
      found = assertAmong(await to.socket.receive(batch.length, 100), sent, found);
    }
    await streams;
    for (const { stdout } of await pings) {
      assert.match(stdout, /, [1-9]\d* received/);
      assert.doesNotMatch(stdout, /wrong data|DUP!/);
    }
    t.diagnostic(`${round} rounds of datagrams`);
  });
}

/** How the log names each offload in use. */
const IN_USE: Readonly<Record<Offload, RegExp>> = {
  'tun-tcp': /TUN TCP /,
  'tun-udp': /TUN [a-zA-Z ]*UDP segments/,
  send: /(?<!no )UDP send segments/,
  receive: /(?<!no )UDP receive bundles/,
  simd: /wasm-simd/,
  evp: /OpenSSL/,
};

for (const offload of ['any offload', ...OFFLOADS]) {
  const allowed = OFFLOADS.filter((name) => offload !== 'any offload' && name !== offload);
  test(`traffic passes without ${offload}`, async (t) => {
    if (!needs(t, ...REQUIREMENTS)) return;
    const limit = allowed.join(',') || 'none';
    const started = await start(t, { offloads: [limit, offload === 'any offload' ? undefined : limit] });
    const { first, second } = started.pair;
    // Each socket logs a line. The first socket may be gone before its line is read.
    const lines = () => [...first.wireguard.stdout.matchAll(/Offloads: (.*)\n/g)].map(([, line]) => line!);
    await until(`only ${limit} to be in use`, () =>
      OFFLOADS.every((name) => IN_USE[name].test(lines().at(-1) ?? '') === allowed.includes(name)),
    );
    await transfer('put', first.host, second.inner.v4, 2_000_001);
    await transfer('get', first.host, second.inner.v6, 2_000_003);
    await assertDatagrams(started, 1420);
  });
}

test('traffic passes over a cable that leaves checksums to the kernel', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  const started = await start(t);
  const { first, second } = started.pair;
  for (const { host } of [first, second]) host.inside(() => computeChecksumsInKernel('eth0'));
  await transfer('put', first.host, second.inner.v4, 2_000_001);
  await transfer('get', first.host, second.inner.v6, 2_000_003);
  await assertDatagrams(started, 1420);
});

test('lametund does not start with an unknown offload in LAMETUN_OFFLOADS', async (t) => {
  if (!needs(t, ...REQUIREMENTS)) return;
  await assert.rejects(
    WireGuardPair.start(t, { implementations: LAMETUNDS, offloads: ['tso', undefined] }),
    /LAMETUN_OFFLOADS: unknown offload "tso"/,
  );
});

/** The destination port of `makePacket`, which sends from 10.0.0.1 to 10.0.1.1 or from fd00::1 to fd00:100::1. */
const CHECKED_PORT = 5201;

for (const where of ['the receiver', 'a host behind a forwarding gateway'] as const) {
  test(`${where} detects a corrupted packet among others`, async (t) => {
    if (!needs(t, ...REQUIREMENTS)) return;
    const { pair } = await start(t);
    const target = where === 'the receiver' ? pair.second.host : behind(t, pair.second.host);
    routeMadePackets(pair, target === pair.second.host);
    const receiver = new Datagrams(t, target, CHECKED_PORT);
    for (const version of [4, 6] as const) {
      for (const protocol of ['udp', 'tcp'] as const) {
        await assertPing(pair.first.host, pair.second.inner.v4, { count: 1 });
        const packets = madePackets(version, protocol);
        packets[4]![700]! ^= 1;
        const before = checksumErrors(target, version, protocol);
        injectPackets(pair.first.host, pair.first.device, packets);
        const what = `${protocol} over IPv${version}`;
        if (protocol === 'udp') {
          // The kernel verifies a UDP checksum when the datagram is read.
          const good = packets
            .filter((_, i) => i !== 4)
            .map((packet) => packet.slice(version === 4 ? 28 : 48));
          const received = await receiver.receive(good.length);
          received.push(...(await receiver.receive(1, 200)));
          assertSame(
            received,
            good.map((payload) => ({ payload, trafficClass: 0 })),
            what,
          );
        }
        await until(`a checksum error, ${what}`, () => checksumErrors(target, version, protocol) > before);
        assert.equal(checksumErrors(target, version, protocol), before + 1, what);
      }
    }
  });
}

/** Creates a host behind a gateway, with the destination address of `makePacket`. */
function behind(t: TestContext, gateway: Namespace): Namespace {
  const host = Namespace.create(`${gateway.name}g`);
  t.after(() => host.remove());
  connect(
    { namespace: gateway, device: 'lan', addresses: ['10.0.1.254/24', 'fd00:100::fe/64'] },
    {
      namespace: host,
      device: 'eth0',
      addresses: ['10.0.1.1/24', 'fd00:100::1/64'],
      routes: [
        { to: 'default', via: '10.0.1.254' },
        { to: 'default', via: 'fd00:100::fe' },
      ],
    },
  );
  gateway.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
  return host;
}

/** Routes packets of `makePacket` through the tunnel. `isTarget`: the tunnel's second end is their destination. */
function routeMadePackets({ first, second }: WireGuardPair, isTarget: boolean): void {
  const allow = (end: End, other: End, networks: string): void =>
    end.wireguard.set(
      ...[
        'peer',
        other.key.publicKey,
        'allowed-ips',
        `${other.inner.v4}/32,${other.inner.v6}/128,${networks}`,
      ],
    );
  allow(first, second, '10.0.1.0/24,fd00:100::/32');
  allow(second, first, '10.0.0.0/24,fd00::/32');
  first.host.ip([
    `address add 10.0.0.1/32 dev ${first.device}`,
    `address add fd00::1/128 dev ${first.device} nodad`,
    `route add 10.0.1.0/24 dev ${first.device}`,
    `route add fd00:100::/32 dev ${first.device}`,
  ]);
  second.host.ip([
    `route add 10.0.0.0/24 dev ${second.device}`,
    `route add fd00::/32 dev ${second.device}`,
    ...(isTarget
      ? [
          `address add 10.0.1.1/32 dev ${second.device}`,
          `address add fd00:100::1/128 dev ${second.device} nodad`,
        ]
      : []),
  ]);
}

/** Ten packets of one flow. They are coalesced if all are valid. */
function madePackets(version: 4 | 6, protocol: 'tcp' | 'udp'): Uint8Array[] {
  return Array.from({ length: 10 }, (_, i) =>
    makePacket({
      version,
      protocol,
      sequence: 1 + i * 1000,
      identification: i,
      payload: noise(1000, i),
    }),
  );
}

/** The number of packets that a host dropped for a wrong checksum. */
function checksumErrors(host: Namespace, version: 4 | 6, protocol: 'tcp' | 'udp'): number {
  const read = (file: string): string =>
    host.inside(() => readFileSync(`/proc/thread-self/net/${file}`, 'utf8'));
  if (version === 6 && protocol === 'udp')
    return Number(/^Udp6InCsumErrors\s+(\d+)/m.exec(read('snmp6'))![1]);
  const name = protocol === 'tcp' ? 'Tcp' : 'Udp'; // Tcp counts for both versions
  const [names, values] = [...read('snmp').matchAll(new RegExp(`^${name}: (.*)$`, 'gm'))].map(([, row]) =>
    row!.split(' '),
  );
  return Number(values![names!.indexOf('InCsumErrors')]);
}
