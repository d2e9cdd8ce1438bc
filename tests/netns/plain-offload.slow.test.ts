import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { IPV4, PROTOCOL } from '../../src/ip/packet.js';
import { libc } from '../../src/linux/ffi/libc.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { Tun } from '../../src/linux/tun/tun.js';
import { type Datagram, Datagrams, injectPackets } from '../kit/datagrams.js';
import { Lametun } from '../kit/lametun.js';
import {
  assertDatagrams,
  assertDatagramsUnchanged,
  assertSame,
  type Exchange,
  noise,
  PORT,
} from '../kit/odd-datagrams.js';
import { makePacket } from '../kit/packets.js';
import { needs } from '../kit/requirements.js';
import { assertPing, serveTransfers, transfer } from '../kit/traffic.js';
import { until } from '../kit/wait.js';

/** The plain tunnel with offloads, over a veth pair between two hosts. */

const canRun = (t: TestContext): boolean => needs(t, 'root', 'tun', 'netns', 'ping');

const OUTER = ['192.0.2.1', '192.0.2.2'] as const;
const INNER = [
  { v4: '10.8.0.1', v6: 'fd08::1' },
  { v4: '10.8.0.2', v6: 'fd08::2' },
] as const;
const DEVICE = 'tun0';

let pairs = 0;

/** Two hosts on a veth pair: first the client, then the listener. */
function cable(t: TestContext): [Namespace, Namespace] {
  const prefix = `po${process.pid.toString(36)}${pairs++}`;
  const hosts = Namespace.createAll([`${prefix}a`, `${prefix}b`]) as [Namespace, Namespace];
  t.after(() => hosts.map((host) => host.remove()));
  const end = (i: 0 | 1) => ({ namespace: hosts[i], device: 'eth0', addresses: [`${OUTER[i]}/24`] });
  connect(end(0), end(1));
  return hosts;
}

const addresses = (end: 0 | 1): string[] => [
  ...['--address', `${INNER[end].v4}/24`, '--address', `${INNER[end].v6}/64`],
];

interface Started extends Exchange {
  readonly hosts: readonly [Namespace, Namespace];
  readonly client: Lametun;
}

/** @param offloads what the client and the listener may use */
async function start(t: TestContext, offloads: readonly [string, string] = ['', '']): Promise<Started> {
  const hosts = cable(t);
  const run = (end: 0 | 1, ...args: string[]): Promise<Lametun> => {
    const lametun = new Lametun(hosts[end], [...args, ...addresses(end)], { offloads: offloads[end] });
    t.after(() => lametun.stop('SIGKILL'));
    return lametun.ready();
  };
  await run(1, '-listen');
  const client = await run(0, '-server', OUTER[1]);
  await assertPing(hosts[0], INNER[1].v6, { count: 1 });
  await assertPing(hosts[0], INNER[1].v4, { count: 1 });
  const { stop } = await serveTransfers(hosts[1]);
  t.after(stop);
  const end = (i: 0 | 1) => ({ socket: new Datagrams(t, hosts[i], PORT), inner: INNER[i] });
  return { hosts, client, from: end(0), to: end(1) };
}

/** The MTUs of device and link. The post's MTU and the default MTU of a device need fragments. */
const MTUS = [
  [1280, 1500],
  [1468, 1500],
  [1472, 1500],
  [1500, 1500],
  [9000, 9080],
  [9000, 1500],
  [65_000, 65_080],
] as const;

test('streams and datagrams arrive unchanged at every MTU', async (t) => {
  if (!canRun(t)) return;
  const started = await start(t);
  const { hosts } = started;
  for (const [i, [mtu, outer]] of MTUS.entries()) {
    for (const host of hosts) host.ip([`link set eth0 mtu ${outer}`, `link set ${DEVICE} mtu ${mtu}`]);
    const to = i % 2 ? INNER[1].v6 : INNER[1].v4;
    await transfer('put', hosts[0], to, 2_000_001 + 1367 * i);
    await transfer('get', hosts[0], to, 1_000_003 - 977 * i);
    // With fragments, some datagrams may be lost in the kernel's buffers.
    await (mtu + 32 > outer ? assertDatagramsUnchanged : assertDatagrams)(started, mtu);
  }
});

const OFFLOADS = {
  'tun-tcp': 'tunTcp',
  'tun-udp': 'tunUdp',
  send: 'send',
  receive: 'receive',
  simd: 'checksum',
} as const;

for (const without of ['any offload', ...Object.keys(OFFLOADS)]) {
  const allowed = Object.keys(OFFLOADS).filter((name) => without !== 'any offload' && name !== without);
  test(`an end without ${without} works with an end that has all offloads`, async (t) => {
    if (!canRun(t)) return;
    const started = await start(t, [allowed.join(',') || 'none', '']);
    const { offloads } = await started.client.event('ready');
    for (const [name, key] of Object.entries(OFFLOADS)) {
      const used = key === 'checksum' ? offloads.checksum === 'wasm-simd' : offloads[key];
      assert.equal(used, allowed.includes(name), name);
    }
    await transfer('put', started.hosts[0], INNER[1].v4, 2_000_001);
    await transfer('get', started.hosts[0], INNER[1].v6, 2_000_003);
    await assertDatagrams(started, 1468);
  });
}

/** Packet information before IPv4 and IPv6 packets. */
const IPV4_FOLLOWS = '00000800';
const IPV6_FOLLOWS = '000086dd';

test('on the wire each packet is one datagram with packet information in front', async (t) => {
  if (!canRun(t)) return;
  const [host, server] = cable(t);
  const socket = new Datagrams(t, server, 1234);
  const client = new Lametun(host, ['-server', OUTER[1], ...addresses(0)]);
  t.after(() => client.stop('SIGKILL'));
  await client.ready();
  const sender = new Datagrams(t, host, PORT);
  const payload = noise(40 * 1000 + 7, 1);
  sender.sendRun(INNER[1].v4, PORT, payload, 1000);
  // The kernel also sends packets of its own.
  const isOurs = (bytes: Uint8Array): boolean =>
    Buffer.from(bytes).toString('hex', 0, 4) !== IPV6_FOLLOWS && bytes[4 + IPV4.protocol] === PROTOCOL.udp;
  const received: Datagram[] = [];
  for (
    let more = await socket.receive(1);
    received.length < 41 && more.length > 0;
    more = await socket.receive(1)
  ) {
    received.push(...more.filter(({ payload }) => isOurs(payload)));
    if (received.length >= 41) break;
  }
  assert.deepEqual(
    received.map(({ payload }) => [Buffer.from(payload).toString('hex', 0, 4), payload.length]),
    Array.from({ length: 41 }, (_, i) => [IPV4_FOLLOWS, 4 + 28 + (i < 40 ? 1000 : 7)]),
  );
  const inside = received.map(({ payload }) => payload.subarray(4 + 28));
  assert.ok(Buffer.concat(inside).equals(payload));
});

test('the receiver drops a corrupted packet among others, and the others arrive', async (t) => {
  if (!canRun(t)) return;
  const { hosts, to } = await start(t);
  hosts[0].ip([`address add 10.0.0.1/32 dev ${DEVICE}`, `route add 10.0.1.0/24 dev ${DEVICE}`]);
  hosts[1].ip([`address add 10.0.1.1/32 dev ${DEVICE}`, `route add 10.0.0.0/24 dev ${DEVICE}`]);
  const packets = Array.from({ length: 10 }, (_, i) =>
    makePacket({
      protocol: 'udp',
      identification: i,
      destinationPort: PORT,
      payload: noise(1000, i),
    }),
  );
  packets[4]![700]! ^= 1;
  injectPackets(hosts[0], DEVICE, packets);
  const good = packets.filter((_, i) => i !== 4);
  assertSame(
    await to.socket.receive(good.length),
    good.map((packet) => ({ payload: packet.slice(28), trafficClass: 0 })),
    'all except the corrupted one',
  );
  assert.deepEqual(await to.socket.receive(1, 300), [], 'nothing else');
});

for (const end of ['stops', 'is killed, and started and stopped again'] as const) {
  test(`an existing device has no offloads left when the tunnel ${end}`, async (t) => {
    if (!canRun(t)) return;
    const [host] = cable(t);
    host.ip([
      `tuntap add dev ${DEVICE} mode tun`,
      `address add 10.8.0.2/24 dev ${DEVICE}`,
      `link set ${DEVICE} up`,
    ]);
    const run = async (offloads: string): Promise<Lametun> => {
      const lametun = new Lametun(host, ['-listen'], { offloads });
      t.after(() => lametun.stop('SIGKILL'));
      return lametun.ready();
    };
    const first = await run('');
    assert.ok((await first.event('ready')).offloads.tunTcp);
    if (end === 'stops') await first.stop();
    else {
      await first.stop('SIGKILL');
      await (await run('none')).stop();
    }
    // The post's program may use it next, and expects no packet above the MTU.
    const tun = host.inside(() => Tun.open({ name: DEVICE, packetInformation: true }));
    t.after(() => tun.close());
    const room = allocate(65_536);
    const sender = new Datagrams(t, host, PORT);
    const lengths = await until('the device to pass packets', () => {
      sender.sendRun('10.8.0.1', PORT, noise(5000, 1), 1000);
      const read: number[] = [];
      for (;;) {
        const length = libc.read(tun.fd, room.address, room.bytes.length);
        if (length < 0) return read.length > 0 && read;
        if (room.bytes[4 + IPV4.protocol] === PROTOCOL.udp) read.push(length); // skip the kernel's own packets
      }
    });
    assert.deepEqual(lengths, Array(5).fill(4 + 28 + 1000));
  });
}
