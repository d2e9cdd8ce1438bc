import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { type CreatedInterface, createInterface } from '../../src/device/running-interface.js';
import { parseAddress } from '../../src/ip/address.js';
import { parseCidr } from '../../src/ip/cidr.js';
import type { Endpoint } from '../../src/ip/endpoint.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { addAddress } from '../../src/linux/net/interface.js';
import { findLink, setLinkUp } from '../../src/linux/net/link.js';
import { writeSocketAddress } from '../../src/linux/net/socket-address.js';
import { UdpSocket } from '../../src/linux/net/udp.js';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import { runProgram } from '../../src/linux/process/program.js';
import type { Log } from '../../src/log.js';
import { SendBatch } from '../../src/packets/send-batch.js';
import { ENDPOINT } from '../../src/packets/udp-batch.js';
import { MAGIC, RELAY_FRAME } from '../../src/protocol/relay.js';
import { MAX_SIDE_CHANNEL, type SocketEndpoint } from '../../src/tunnel/engine.js';
import { OFFLOADS, type Offload } from '../../src/tunnel/offloads.js';
import type { Peer } from '../../src/wireguard/peer.js';
import { TestRelay } from '../kit/relay.js';
import { needs } from '../kit/requirements.js';
import { assertPing, serveTransfers, transfer } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import { socketPath } from '../kit/wireguard.js';

const PORT = 51_820;
const RELAY_PORT = 443;
const IDS = [7, 0xf000_0009] as const;

let labs = 0;
const newName = (): string => `rd${(process.pid % 46_656).toString(36)}x${labs++}`;

const quiet: Log = { isVerbose: false, verbose: () => {}, error: (text) => assert.fail(text) };

const endpoint = (address: string, port: number): Endpoint => ({ address: parseAddress(address)!, port });

/** A WireGuard interface, and what its owner knows. */
interface End {
  readonly host: Namespace;
  readonly device: CreatedInterface;
  readonly outer: Endpoint;
  readonly relay: Endpoint;
  readonly id: number;
  readonly inner: string;
  readonly inner6: string;
  readonly sideChannel: { readonly bytes: Uint8Array; readonly from: SocketEndpoint }[];
  peer: Peer;
}

interface Pair {
  readonly ends: readonly [End, End];
  /** A router that reaches both hosts. */
  readonly between: Namespace;
  readonly relay: TestRelay;
}

/** Two interfaces of this process on two hosts, with a router between them, and a relay. Peers are relayed. */
async function start(
  t: TestContext,
  offloads: readonly Offload[],
  relayOn: 'router' | 'first',
): Promise<Pair> {
  const prefix = newName();
  const [first, router, second] = Namespace.createAll(['a', 'r', 'b'].map((end) => `${prefix}${end}`));
  const hosts = [first!, second!] as const;
  t.after(() => [...hosts, router!].map((host) => host.remove()));
  router!.sysctl({ 'net.ipv4.ip_forward': 1 });
  hosts.forEach((namespace, i) => {
    connect(
      {
        namespace,
        device: 'eth0',
        addresses: [`10.${i}.0.2/24`],
        routes: [{ to: '0.0.0.0/0', via: `10.${i}.0.1` }],
      },
      { namespace: router!, device: `eth${i}`, addresses: [`10.${i}.0.1/24`] },
    );
  });
  const relayAt = (i: number): string => {
    if (relayOn === 'router') return `10.${i}.0.1`;
    return i === 0 ? '127.0.0.1' : '10.0.0.2';
  };
  const make = async (i: 0 | 1): Promise<End> => {
    const host = hosts[i];
    const sideChannel: { bytes: Uint8Array; from: SocketEndpoint }[] = [];
    let starting!: Promise<CreatedInterface>;
    host.inside(() => {
      starting = createInterface({
        name: `${prefix}${i}`,
        mtu: 1280,
        port: PORT,
        privateKey: randomBytes(32),
        log: quiet,
        offloads,
        paths: 'owner',
        sideChannel: (bytes, from) => void sideChannel.push({ bytes, from }),
      });
    });
    const device = await starting;
    t.after(() => device.close());
    const outer = endpoint(`10.${i}.0.2`, PORT);
    const relay = endpoint(relayAt(i), RELAY_PORT);
    const [inner, inner6] = [`10.9.0.${i + 1}`, `fd09::${i + 1}`];
    host.inside(() => {
      addAddress(device.link, parseCidr(`${inner}/24`)!);
      addAddress(device.link, parseCidr(`${inner6}/64`)!);
      setLinkUp(device.link, true);
    });
    device.wireguard.setRelays([relay]);
    return { host, device, outer, relay, id: IDS[i], inner, inner6, sideChannel, peer: undefined! };
  };
  const ends = [await make(0), await make(1)] as const;
  for (const [own, other] of [ends, [ends[1], ends[0]]] as const) {
    const { wireguard } = own.device;
    own.peer = wireguard.addPeer(Uint8Array.from(other.device.wireguard.publicKey!));
    wireguard.setEndpoint(own.peer, own.relay, other.id);
    wireguard.allow(own.peer, parseCidr(`${other.inner}/32`)!);
    wireguard.allow(own.peer, parseCidr(`${other.inner6}/128`)!);
    wireguard.commit();
  }
  const members = ends.map(({ id, outer }, i) => ({
    id,
    at: relayOn === 'first' && i === 0 ? endpoint('127.0.0.1', PORT) : outer,
  }));
  const relay = new TestRelay(relayOn === 'first' ? first! : router!, RELAY_PORT, members);
  t.after(() => relay.close());
  return { ends: [...ends], between: router!, relay };
}

/** Makes one end send to the other directly, or through the relay. */
function use(way: 'direct' | 'relay', own: End, other: End): void {
  const { wireguard } = own.device;
  if (way === 'direct') wireguard.setEndpoint(own.peer, other.outer);
  else wireguard.setEndpoint(own.peer, own.relay, other.id);
}

const BYTES = 2 << 20;

for (const offloads of [OFFLOADS, []] as const) {
  for (const relayOn of ['router', 'first'] as const) {
    const where = relayOn === 'router' ? 'elsewhere' : 'on loopback';
    const how = offloads.length > 0 ? 'with offloads' : 'without offloads';
    test(`TCP passes a relay ${where} both ways at MTU 1280, ${how}, and then goes directly`, async (t) => {
      if (!needs(t, 'root', 'netns', 'tun', 'ping')) return;
      const { ends, relay } = await start(t, offloads, relayOn);
      const [a, b] = ends;
      t.after((await serveTransfers(b.host)).stop);
      for (const [verb, to] of [
        ['put', b.inner],
        ['get', b.inner6],
      ] as const) {
        const { milliseconds } = await transfer(verb, a.host, to, BYTES);
        t.diagnostic(`${verb}: ${((BYTES * 8) / milliseconds / 1000).toFixed(0)} Mbit/s`);
      }
      assert.ok(relay.passed > (2 * BYTES) / 1280, `${relay.passed} frames`);
      assert.equal(relay.refused, 0);
      use('direct', a, b);
      use('direct', b, a);
      const passed = await until('the last frame', async () => {
        const before = relay.passed;
        await assertPing(a.host, b.inner, { count: 2 });
        return relay.passed === before && before;
      });
      for (const verb of ['put', 'get'] as const) await transfer(verb, a.host, b.inner, BYTES);
      assert.equal(relay.passed, passed, 'nothing passed the relay');
      for (const { device } of ends) {
        // Packets on two paths may arrive too late, and hosts send router solicitations, which are dropped.
        const drops = [...device.wireguard.drops().keys()].filter(
          (reason) => reason !== 'replayed' && reason !== 'no-peer',
        );
        assert.deepEqual(drops, []);
      }
    });
  }
}

test('a peer that switches between relay and direct path under traffic loses nothing', async (t) => {
  if (!needs(t, 'root', 'netns', 'tun', 'ping')) return;
  const { ends, relay } = await start(t, OFFLOADS, 'router');
  const [a, b] = ends;
  t.after((await serveTransfers(b.host)).stop);
  await assertPing(a.host, b.inner);
  let switches = 0;
  const passed = [relay.passed];
  const switching = setInterval(() => {
    const way = (switches >> 1) % 2 === 0 ? 'direct' : 'relay';
    if (switches % 2 === 0) use(way, a, b);
    else use(way, b, a); // first one end switches, then both
    switches++;
    passed.push(relay.passed);
  }, 40);
  try {
    await assertPing(a.host, b.inner, { count: 400, interval: 0.005, size: 1000 });
    do {
      await transfer('put', a.host, b.inner, BYTES);
      await transfer('get', a.host, b.inner, BYTES);
    } while (switches <= 20);
  } finally {
    clearInterval(switching);
  }
  const differences = passed.slice(1).map((now, i) => now - passed[i]!);
  t.diagnostic(`${switches} switches, ${relay.passed} frames`);
  assert.ok(differences.some((n) => n === 0) && differences.some((n) => n > 0), `${differences}`);
});

test('an authentic packet from another path does not move a peer: only the owner does', async (t) => {
  if (!needs(t, 'root', 'netns', 'tun', 'ping')) return;
  const { ends, relay } = await start(t, OFFLOADS, 'router');
  const [a, b] = ends;
  use('direct', a, b);
  // This includes the handshake: a's initiation goes directly and is answered directly; b's data takes the relay.
  for (let i = 0; i < 5; i++) await assertPing(a.host, b.inner, { count: 1 });
  assert.equal(relay.passed, 5, 'the replies to the pings, and no handshake');
  assert.equal((b.peer.endpoint as SocketEndpoint).relayPeer, a.id);
  const { sent, received } = a.device.wireguard.transfer(a.peer);
  assert.ok(sent > 5 * 84 && received > 5 * 84);
});

test('probes reach the owner of the other interface, directly and through the relay, and can be answered', async (t) => {
  if (!needs(t, 'root', 'netns', 'tun')) return;
  const [a, b] = (await start(t, OFFLOADS, 'router')).ends;
  const probe = (fill: number, length: number): Uint8Array => {
    const bytes = new Uint8Array(length).fill(fill);
    new DataView(bytes.buffer).setInt32(0, MAGIC.probe, true);
    return bytes;
  };
  const { wireguard } = a.device;
  wireguard.sendSideChannel(probe(1, 256), wireguard.endpoint(b.outer));
  wireguard.sendSideChannel(probe(2, 30), wireguard.endpoint(a.relay, b.id));
  await until('both probes', () => b.sideChannel.length === 2);
  const direct = b.sideChannel.find(({ from }) => from.relayPeer === 0)!;
  const relayed = b.sideChannel.find(({ from }) => from.relayPeer === a.id)!;
  assert.deepEqual(direct.bytes, probe(1, 256));
  assert.deepEqual(direct.from.remote, a.outer);
  assert.deepEqual(relayed.bytes, probe(2, 30));
  assert.deepEqual(relayed.from.remote, b.relay);
  b.device.wireguard.sendSideChannel(probe(3, 40), direct.from);
  b.device.wireguard.sendSideChannel(probe(4, 50), relayed.from);
  await until('both answers', () => a.sideChannel.length === 2);
  const answers = a.sideChannel.map(({ bytes, from }) => [bytes[39], from.relayPeer, from.remote]);
  assert.deepEqual(
    answers.toSorted(([x], [y]) => Number(x) - Number(y)),
    [
      [3, 0, b.outer],
      [4, b.id, a.relay],
    ],
  );
  assert.throws(
    () => wireguard.sendSideChannel(new Uint8Array(MAX_SIDE_CHANNEL + 1), direct.from),
    RangeError,
  );
});

test('frames that do not come from the relay are counted and dropped', async (t) => {
  if (!needs(t, 'root', 'netns', 'tun', 'ping')) return;
  const { ends, between } = await start(t, OFFLOADS, 'router');
  const [a, b] = ends;
  await assertPing(a.host, b.inner);
  const frame = Buffer.alloc(RELAY_FRAME.payload + 256);
  frame.writeInt32LE(MAGIC.relay);
  frame.writeUInt32LE(b.id, RELAY_FRAME.peer);
  frame.writeInt32LE(MAGIC.probe, RELAY_FRAME.payload);
  // From the relay's host, but another port.
  const stranger = between.inside(() => UdpSocket.open(RELAY_PORT + 1));
  t.after(() => stranger.close());
  for (let i = 0; i < 2; i++) sendFrom(stranger, frame, a.outer);
  const count = (): number => a.device.wireguard.drops().get('not-the-relay') ?? 0;
  await until('the frames to be counted', () => count() >= 2);
  assert.equal(count(), 2);
  assert.deepEqual(a.sideChannel, []);
  await assertPing(a.host, b.inner);
});

function sendFrom(socket: UdpSocket, datagram: Uint8Array, to: Endpoint): void {
  const record = allocate(ENDPOINT.size);
  const data = allocate(datagram.length);
  data.bytes.set(datagram);
  const length = writeSocketAddress(record.view, ENDPOINT.name, socket.family, to);
  record.view.setUint32(ENDPOINT.nameLength, length, true);
  const batch = new SendBatch(1);
  batch.addTo(data.address, datagram.length, record, 0);
  assert.equal(batch.flush(socket.fd), 0);
}

/** Runs `wg show` without blocking this process, which must answer it. */
const wgShow = async (device: string): Promise<string> =>
  (await promisify(execFile)('wg', ['show', device])).stdout;

test('wg shows an interface of a running process, and closing it leaves nothing', async (t) => {
  if (!needs(t, 'root', 'tun', 'wg')) return;
  const name = newName();
  const privateKey = randomBytes(32);
  const options = { name, mtu: 1280, log: quiet, privateKey };
  const device = await createInterface(options);
  t.after(() => device.close());
  assert.ok(privateKey.every((byte) => byte === 0));
  assert.match(await wgShow(name), new RegExp(`listening port: ${device.port}\n`));
  assert.equal(findLink(name)?.mtu, 1280);
  await assert.rejects(
    createInterface({ ...options, privateKey: randomBytes(32) }),
    new RegExp(`${name}.*an interface of that name exists already.*another name with --interface`),
  );
  assert.match(await wgShow(name), /listening port/, 'the first interface keeps running');
  await device.close();
  await device.close();
  assert.equal(findLink(name), undefined);
  assert.equal(existsSync(socketPath(name)), false);
});

test('a port in use is an error, and leaves nothing behind', async (t) => {
  if (!needs(t, 'root', 'tun')) return;
  const taken = UdpSocket.open(0);
  t.after(() => taken.close());
  const name = newName();
  const privateKey = randomBytes(32);
  const starting = createInterface({ name, mtu: 1280, log: quiet, privateKey, port: taken.port });
  await assert.rejects(starting, /listen on UDP port \d+.*choose another port/);
  assert.equal(findLink(name), undefined);
  assert.ok(privateKey.every((byte) => byte === 0));
});

test('an interface ends with an error when its device is removed', async (t) => {
  if (!needs(t, 'root', 'tun')) return;
  const name = newName();
  const device = await createInterface({
    name,
    mtu: 1280,
    log: quiet,
    privateKey: randomBytes(32),
    uapi: false,
  });
  assert.equal(existsSync(socketPath(name)), false);
  runProgram('ip', ['link', 'del', name]);
  assert.equal(await device.ended, 'device-gone');
  await device.close();
});
