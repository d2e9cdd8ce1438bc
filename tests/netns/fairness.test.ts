import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseAddress } from '../../src/ip/address.js';
import { IPV4 } from '../../src/ip/packet.js';
import { VIRTIO } from '../../src/ip/virtio.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { runProgram } from '../../src/linux/process/program.js';
import { DataPlane } from '../kit/data-plane.js';
import { Datagrams } from '../kit/datagrams.js';
import { makePacket } from '../kit/packets.js';
import { needs } from '../kit/requirements.js';
import { assertPing, ping } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import { newKey, WireGuard } from '../kit/wireguard.js';

const LAMETUN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const PORT = 51_820;
const name = (letter: string): string => `q${(process.pid % 46_656).toString(36)}${letter}`;

test('an error for one peer’s address does not stop the others in its batch, nor reorder them', (t) => {
  if (!needs(t, 'root', 'netns')) return;
  const namespace = Namespace.create(name('n'));
  t.after(() => namespace.remove());
  namespace.ip([
    'route add unreachable 192.0.2.1', // EHOSTUNREACH
    'route add prohibit 192.0.2.2', // EACCES
    'route add blackhole 192.0.2.3', // EINVAL
    'route add throw 192.0.2.4', // ENETUNREACH, as without a route
  ]);
  const plane = namespace.inside(() => new DataPlane());
  t.after(() => plane.close());
  const good = 3;
  const refused = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4', '203.0.113.1'];
  plane.addPeer(good);
  plane.beginSession(good);
  refused.forEach((address, i) => {
    plane.addPeer(10 + i, { address: parseAddress(address)!, port: PORT });
    plane.beginSession(10 + i);
  });
  const rounds = 20;
  const give = (peer: number, number: number): void => {
    const shape = { source: peer, destination: peer, sourcePort: number, payload: new Uint8Array(100) };
    const packet = Uint8Array.of(...new Uint8Array(VIRTIO.length), ...makePacket(shape));
    const memory = allocate(packet.length);
    memory.bytes.set(packet);
    plane.give(memory.address, packet.length);
  };
  for (let round = 0; round < rounds; round++) {
    refused.forEach((_, i) => {
      give(10 + i, round);
      give(good, round * refused.length + i);
    });
  }
  plane.turn();
  const came: number[] = [];
  const view = new DataView(plane.taken.buffer, plane.taken.byteOffset);
  while (plane.take() > 0) came.push(view.getUint16(VIRTIO.length + IPV4.minLength));
  assert.deepEqual(
    came,
    Array.from({ length: rounds * refused.length }, (_, i) => i),
  );
  assert.deepEqual(plane.drops.entries(), [['unreachable', rounds * refused.length]]);
});

test('a quiet peer can ping and be pinged while other peers flood, are flooded, gone or silent', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns', 'wg', 'ping')) return;
  const [hub, ...hosts] = Namespace.createAll(['h', 'f', 'q', 'g'].map(name)) as [Namespace, ...Namespace[]];
  t.after(() => [hub, ...hosts].map((host) => host.remove()));
  hosts.forEach((host, i) => {
    connect(
      { namespace: hub, device: `eth${i}`, addresses: [`192.0.2.${4 * i + 1}/30`] },
      { namespace: host, device: 'eth0', addresses: [`192.0.2.${4 * i + 2}/30`] },
    );
  });
  const [center, ...spokes] = await Promise.all(
    [hub, ...hosts].map((host) => WireGuard.start(t, host.name, 'lametund', host)),
  );
  const key = newKey();
  const keys = [...spokes.map(newKey), newKey()];
  // The last peer does not exist: nothing answers at its endpoint.
  const peers = keys.map(({ publicKey }, i) => [
    ...['peer', publicKey, 'endpoint', `192.0.2.${4 * i + 2}:${PORT}`, 'allowed-ips', `10.9.0.${i + 2}/32`],
  ]);
  hub.ip(['address add 192.0.2.13/30 dev eth2']);
  center!.set('private-key', key.privateKey, 'listen-port', `${PORT}`, ...peers.flat());
  spokes.forEach((spoke, i) => {
    spoke.set(
      ...['private-key', keys[i]!.privateKey, 'listen-port', `${PORT}`, 'peer', key.publicKey],
      ...['endpoint', `192.0.2.${4 * i + 1}:${PORT}`, 'allowed-ips', '10.9.0.1/32'],
    );
  });
  [hub, ...hosts].forEach((host, i) => {
    host.ip([`address add 10.9.0.${i + 1}/24 dev ${host.name}`]);
  });
  await Promise.all([center!, ...spokes].map((wireguard) => wireguard.up()));
  const [flooder, quiet] = hosts as [Namespace, Namespace];
  for (const i of [2, 3, 4]) await assertPing(hub, `10.9.0.${i}`, { count: 1 });
  hub.ip(['route add unreachable 192.0.2.10/32']); // one peer becomes unreachable, with a session

  const [outward, inward] = [new Datagrams(t, hub, 7000), new Datagrams(t, flooder, 7000)];
  const burst = Array.from({ length: 64 }, () => ({ payload: new Uint8Array(1200), trafficClass: 0 }));
  const flood = { on: true };
  const flooding = (async () => {
    while (flood.on) {
      for (const i of [2, 4, 5]) outward.send(`10.9.0.${i}`, 7000, burst);
      inward.send('10.9.0.1', 7000, burst);
      await sleep(1);
    }
  })();
  // The kernel decides how many datagrams and pings find queues full. The test only asks that pings get through in both
  // directions.
  const passes = (from: Namespace, to: string): Promise<true> =>
    until(`${to} to reply under the flood`, async () => {
      return (await ping(from, to, { count: 20, interval: 0.03 })).received > 0;
    });
  try {
    await Promise.all([passes(hub, '10.9.0.3'), passes(quiet, '10.9.0.1')]);
  } finally {
    flood.on = false;
    await flooding;
  }
  for (const socket of [outward, inward])
    assert.ok((await socket.receive(1)).length > 0, 'the flood passes too');
  const drops = runProgram(process.execPath, [LAMETUN, 'drops', hub.name]);
  assert.match(drops, /unreachable/);
  assert.match(drops, /queue-full/);
  for (const i of [2, 3]) {
    // The first ping may be dropped while the queues are still full.
    await until(`10.9.0.${i} to reply`, async () => (await ping(hub, `10.9.0.${i}`)).received === 1);
  }
  // The unreachable peer works again once it has a route.
  hub.ip(['route del unreachable 192.0.2.10/32']);
  await assertPing(hub, '10.9.0.4', { count: 1 });
});
