import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { dissect } from '../../src/demo/dissect.js';
import { ADDRESS, Topology, type TopologyOptions } from '../../src/demo/topology.js';
import { computeChecksumsInKernel, PacketSocket } from '../../src/linux/net/packet-socket.js';
import { Namespace } from '../../src/linux/process/namespace.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';

const ETHERNET_HEADER = 14;

function build(t: TestContext, options: TopologyOptions): Topology {
  const topology = Topology.build({ prefix: 'topo-', ...options });
  t.after(() => topology.remove());
  return topology;
}

/** @param seconds the timeout; short if no reply is expected */
const reaches = (host: Namespace, address: string, seconds = 20): boolean => {
  try {
    host.run('ping', ['-c1', `-w${seconds}`, address]);
    return true;
  } catch {
    return false;
  }
};
const IN_VAIN = 2;

/** Sends a datagram from the laptop to the office. @returns its source ports at home and on the internet */
async function portsOf(topology: Topology): Promise<string[]> {
  const { laptop, internet } = topology;
  laptop.inside(() => computeChecksumsInKernel('eth0'));
  const sockets = [
    laptop.inside(() => PacketSocket.open('eth0')),
    internet.inside(() => PacketSocket.open('home0')),
  ];
  laptop.run('bash', ['-c', `echo hello > /dev/udp/${ADDRESS.office.v4}/9`]);
  const titles: string[] = [];
  for (const socket of sockets) {
    const udp = await until('the datagram', () => {
      const datagrams = socket.drain().map(({ bytes }) => dissect(bytes.subarray(ETHERNET_HEADER)));
      return datagrams.find((layers) => layers[1]?.title.endsWith('→ port 9'))?.[1];
    });
    socket.close();
    assert.ok(udp.fields.includes('checksum ok'), udp.fields.join());
    titles.push(udp.title);
  }
  return titles;
}

test('a home and an office are built within seconds, and removed', (t) => {
  if (!needs(t, 'root', 'netns', 'nft')) return;
  const start = Date.now();
  const topology = build(t, {});
  assert.ok(Date.now() - start < 60_000); // 0.5 s on an idle machine
  topology.remove();
  assert.throws(() => Namespace.open('topo-laptop'), /no network namespace topo-laptop/);
});

test('public addresses are reachable through the NAT, private ones are not, by IPv4 and IPv6', (t) => {
  if (!needs(t, 'root', 'netns', 'nft', 'ping')) return;
  const topology = build(t, { homes: 2 });
  for (const { laptop } of topology.homes) {
    assert.ok(reaches(laptop, ADDRESS.office.v4));
    assert.ok(reaches(laptop, ADDRESS.office.v6));
    assert.ok(!reaches(laptop, ADDRESS.server.v4, IN_VAIN));
    assert.ok(!reaches(laptop, ADDRESS.server.v6, IN_VAIN));
  }
  assert.ok(reaches(topology.gateway, ADDRESS.server.v4));
  assert.ok(reaches(topology.gateway, ADDRESS.server.v6));
  assert.ok(!reaches(topology.gateway, ADDRESS.laptop.v4, IN_VAIN), 'the internet has no route into a home');
});

test('a hard NAT changes the port, an easy NAT keeps it, and "none" is no NAT', async (t) => {
  if (!needs(t, 'root', 'netns', 'nft', 'bash')) return;
  const behindHard = build(t, { prefix: 'hard-', nat: 'hard' });
  const hard = [await portsOf(behindHard), await portsOf(behindHard)];
  assert.ok(hard.some(([inside, outside]) => inside !== outside)); // it may keep a port by chance
  const easy = await portsOf(build(t, { prefix: 'easy-', nat: 'easy' }));
  assert.equal(easy[0], easy[1]);
  const none = build(t, { prefix: 'none-', nat: 'none' });
  assert.ok(reaches(none.gateway, ADDRESS.laptop.v4));
});

test('a capture records the time and direction of packets', (t) => {
  if (!needs(t, 'root', 'netns', 'ping')) return;
  const { gateway } = build(t, {});
  const socket = gateway.inside(() => PacketSocket.open('lan'));
  t.after(() => socket.close());
  assert.equal(socket.ethernet, true);
  const before = BigInt(Date.now() - 50) * 1_000_000n;
  gateway.run('ping', ['-c', '1', ADDRESS.server.v4]);
  const pings = socket.drain().filter(({ bytes }) => bytes[12] === 8 && bytes[13] === 0);
  assert.deepEqual(
    pings.map(({ outgoing }) => outgoing),
    [true, false],
  );
  assert.ok(pings[0]!.time > before && pings[1]!.time > pings[0]!.time);
  assert.throws(
    () => gateway.inside(() => PacketSocket.open('nothing')),
    /capture on nothing: No such device/,
  );
});
