import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { dissect } from '../../src/demo/dissect.js';
import { ADDRESS, Topology, type TopologyOptions } from '../../src/demo/topology.js';
import { Namespace } from '../../src/linux/namespace.js';
import { computeChecksumsInKernel, PacketSocket } from '../../src/linux/packet-socket.js';
import { needs } from '../../src/testkit/requirements.js';

const ETHERNET_HEADER = 14;

function build(t: TestContext, options: TopologyOptions): Topology {
  const topology = Topology.build({ prefix: 'topo-', ...options });
  t.after(() => topology.remove());
  return topology;
}

const reaches = (host: Namespace, address: string): boolean => {
  try {
    host.run('ping', ['-c1', '-w2', address]);
    return true;
  } catch {
    return false;
  }
};

/** Sends a datagram from the laptop to the office, and tells its source ports at home and on the internet. */
function portsOf(topology: Topology): string[] {
  const { laptop, internet } = topology;
  laptop.inside(() => computeChecksumsInKernel('eth0'));
  const sockets = [
    laptop.inside(() => PacketSocket.open('eth0')),
    internet.inside(() => PacketSocket.open('home0')),
  ];
  laptop.run('bash', ['-c', `echo hello > /dev/udp/${ADDRESS.office.v4}/9`]);
  return sockets.map((socket) => {
    const datagrams = socket.drain().map(({ bytes }) => dissect(bytes.subarray(ETHERNET_HEADER)));
    socket.close();
    const udp = datagrams.find((layers) => layers[1]?.title.endsWith('→ port 9'))?.[1];
    assert.ok(udp !== undefined, 'the datagram passed');
    assert.ok(udp.fields.includes('checksum ok'), udp.fields.join());
    return udp.title;
  });
}

test('a home and an office stand within seconds, and go again', (t) => {
  if (!needs(t, 'root', 'netns', 'nft')) return;
  const start = Date.now();
  const topology = build(t, {});
  assert.ok(Date.now() - start < 10_000); // 0.5 s where nothing else runs
  topology.remove();
  assert.throws(() => Namespace.open('topo-laptop'), /no network namespace topo-laptop/);
});

test('public addresses are reached through the NAT, private ones are not, IPv4 and IPv6', (t) => {
  if (!needs(t, 'root', 'netns', 'nft', 'ping')) return;
  const topology = build(t, { homes: 2 });
  for (const { laptop } of topology.homes) {
    assert.ok(reaches(laptop, ADDRESS.office.v4));
    assert.ok(reaches(laptop, ADDRESS.office.v6));
    assert.ok(!reaches(laptop, ADDRESS.server.v4));
    assert.ok(!reaches(laptop, ADDRESS.server.v6));
  }
  assert.ok(reaches(topology.gateway, ADDRESS.server.v4));
  assert.ok(reaches(topology.gateway, ADDRESS.server.v6));
  assert.ok(!reaches(topology.gateway, ADDRESS.laptop.v4), 'the internet knows no way into a home');
});

test('the hard NAT changes the port, the easy one keeps it, and none is none', (t) => {
  if (!needs(t, 'root', 'netns', 'nft', 'bash')) return;
  const hard = portsOf(build(t, { prefix: 'hard-', nat: 'hard' }));
  assert.notEqual(hard[0], hard[1]);
  const easy = portsOf(build(t, { prefix: 'easy-', nat: 'easy' }));
  assert.equal(easy[0], easy[1]);
  const none = build(t, { prefix: 'none-', nat: 'none' });
  assert.ok(reaches(none.gateway, ADDRESS.laptop.v4));
});

test('a capture stamps packets with the time and the direction', (t) => {
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
