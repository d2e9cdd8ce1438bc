import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ADDRESS } from '../../src/demo/topology.js';
import { parseCidr } from '../../src/ip/cidr.js';
import { ERRNO, LinuxError } from '../../src/linux/ffi/errno.js';
import { errno, libc } from '../../src/linux/ffi/libc.js';
import { allocate } from '../../src/linux/ffi/memory.js';
import { addAddress, NetworkInterface } from '../../src/linux/net/interface.js';
import { setLinkUp } from '../../src/linux/net/link.js';
import { UdpSocket } from '../../src/linux/net/udp.js';
import { Namespace } from '../../src/linux/process/namespace.js';
import { runProgram } from '../../src/linux/process/program.js';
import { POLL, Poller, Waker } from '../../src/linux/threads/poll.js';
import { ETHERTYPE, PACKET_INFORMATION, Tun } from '../../src/linux/tun/tun.js';
import { OFFLOADS } from '../../src/tunnel/offloads.js';
import { WorkerEngine } from '../../src/tunnel/worker-engine.js';
import { Lab } from '../kit/lab.js';
import { needs } from '../kit/requirements.js';
import { ping } from '../kit/traffic.js';
import { until } from '../kit/wait.js';

let count = 0;

function host(t: TestContext): Namespace {
  const namespace = Namespace.create(`lt-tun-${process.pid}-${count++}`);
  t.after(() => namespace.remove());
  return namespace;
}

/** A TUN device that is up and has an address, so that packets can be sent to its network. */
function readyTun(t: TestContext, namespace: Namespace, packetInformation: boolean): Tun {
  const tun = Tun.open({ name: 'tun3', packetInformation });
  t.after(() => tun.close());
  namespace.sysctl({ 'net.ipv6.conf.tun3.disable_ipv6': 1 }); // the kernel would send packets of its own
  const device = NetworkInterface.open('tun3');
  setLinkUp(device, true);
  addAddress(device, parseCidr('10.7.0.1/24')!);
  return tun;
}

/** Sends one UDP datagram from inside a namespace. */
function sendDatagram(length: number): void {
  const udp = UdpSocket.open(0);
  const packet = allocate(Math.max(length, 1));
  const address = allocate(32);
  address.view.setUint16(0, 10, true);
  address.view.setUint16(2, 9);
  address.bytes.set([0xff, 0xff, 10, 7, 0, 2], 8 + 10);
  assert.equal(libc.connect(udp.fd, address.address, 28), 0);
  assert.equal(libc.send(udp.fd, packet.address, length, 0), length);
  udp.close();
}

for (const packetInformation of [true, false]) {
  test(`one packet is read ${packetInformation ? 'with' : 'without'} packet information, and no more`, (t) => {
    if (!needs(t, 'netns', 'tun')) return;
    const namespace = host(t);
    namespace.inside(() => {
      const tun = readyTun(t, namespace, packetInformation);
      sendDatagram(10);
      const { bytes, view, address } = allocate(2048);
      const offset = packetInformation ? PACKET_INFORMATION.size : 0;
      assert.equal(libc.read(tun.fd, address, 2048), offset + 20 + 8 + 10);
      if (packetInformation) {
        assert.equal(view.getUint16(PACKET_INFORMATION.flags), 0);
        assert.equal(view.getUint16(PACKET_INFORMATION.protocol), ETHERTYPE.ipv4);
      }
      assert.deepEqual([...bytes.subarray(offset + 16, offset + 20)], [10, 7, 0, 2]);
      assert.equal(libc.read(tun.fd, address, 2048), -1);
      assert.equal(errno(), ERRNO.EAGAIN); // it does not block
    });
  });
}

test('opening a device in use fails, and the error says what to do', (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  host(t).inside(() => {
    const tun = Tun.open({ name: 'tun3', packetInformation: true });
    t.after(() => tun.close());
    assert.throws(
      () => Tun.open({ name: 'tun3', packetInformation: true }),
      (error) =>
        error instanceof LinuxError &&
        error.errno === ERRNO.EBUSY &&
        error.message.startsWith('TUNSETIFF tun3: Device or resource busy: another program is attached'),
    );
  });
});

test('a device disappears with its descriptor', (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  host(t).inside(() => {
    Tun.open({ name: 'tungone', packetInformation: true }).close();
    assert.throws(() => NetworkInterface.open('tungone'), /tungone/);
  });
});

test('poll returns when a device is removed, and tells it from a wake-up', (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  host(t).inside(() => {
    const tun = Tun.open({ name: 'tun3', packetInformation: true });
    t.after(() => tun.close());
    const waker = new Waker();
    t.after(() => waker.close());
    const poller = new Poller([tun.fd, waker.fd]);
    assert.equal(poller.wait(0), false);
    waker.wake();
    assert.equal(poller.wait(1000), true);
    assert.deepEqual([poller.events(0), poller.events(1)], [0, POLL.in]);
    waker.clear();
    assert.equal(poller.wait(0), false);
  });
});

test('a device removed before the data plane starts is reported as gone, not as a failure', async (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const tunFd = host(t).inside(() => {
    const { fd } = Tun.open({ name: 'tun3', packetInformation: false, virtioHeader: true });
    t.after(() => libc.close(fd));
    runProgram('ip', ['link', 'del', 'tun3']);
    return fd;
  });
  const unexpected = (): void => assert.fail('unexpected event from a removed device');
  const reason = await new Promise<'device-gone' | Error>((ended) => {
    const others = { datagram: unexpected, sideChannel: unexpected, wakeUp: unexpected, roaming: unexpected };
    const events = { ...others, offloads: unexpected, ended };
    const engine = new WorkerEngine({ tunFd, mtu: 1420, offloads: OFFLOADS, events });
    t.after(() => engine.close());
  });
  assert.equal(reason, 'device-gone');
});

/** A device that is up, with two packets sent to it, and a data plane that does not know yet that it is up. */
function unknownDevice(t: TestContext, ended: (reason: 'device-gone' | Error) => void = failOnEvent) {
  const namespace = host(t);
  const tunFd = namespace.inside(() => {
    const { fd } = Tun.open({ name: 'tun3', packetInformation: false, virtioHeader: true });
    t.after(() => libc.close(fd));
    namespace.sysctl({ 'net.ipv6.conf.tun3.disable_ipv6': 1 }); // the kernel would send packets of its own
    const device = NetworkInterface.open('tun3');
    setLinkUp(device, true);
    addAddress(device, parseCidr('10.7.0.1/24')!);
    return fd;
  });
  const send = (): void => namespace.inside(() => sendDatagram(10));
  send();
  send();
  let turns = 0;
  const unexpected = failOnEvent;
  const others = { datagram: unexpected, sideChannel: unexpected, wakeUp: unexpected, roaming: unexpected };
  const events = { ...others, offloads: () => void turns++, ended };
  const engine = new WorkerEngine({ tunFd, mtu: 1420, offloads: OFFLOADS, events });
  t.after(() => engine.close());
  const socket = UdpSocket.open(0);
  t.after(() => socket.close());
  engine.setSocket(socket.fd, socket.family);
  return { engine, namespace, send, begun: () => until('the first turn', () => turns > 0) };
}

const failOnEvent = (): void => assert.fail('unexpected event: nothing was sent');

test('packets sent before the data plane knows that the device is up wait, and those of a device that went down are dropped', async (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { engine, send, begun } = unknownDevice(t);
  await begun();
  assert.deepEqual([...engine.drops()], []);
  engine.setUp(false);
  await until('the waiting packets to be dropped', () => engine.drops().get('down') === 2);
  await sleep(200); // time to look for a third
  send();
  send();
  send();
  engine.setUp(true);
  await until('the new packets to be read', () => engine.drops().get('no-peer') === 3);
  assert.equal(engine.drops().get('down'), 2);
});

test('a data plane that learns late that its device went down and up drops no packet sent since', async (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const { engine } = unknownDevice(t);
  for (const up of [true, false, true]) engine.setUp(up); // its thread has not started yet
  await until('the packets to be read', () => engine.drops().get('no-peer') === 2);
  assert.equal(engine.drops().get('down') ?? 0, 0);
});

test('the data plane notices at once when a device that it does not read is removed', async (t) => {
  if (!needs(t, 'netns', 'tun')) return;
  const reasons: ('device-gone' | Error)[] = [];
  const { namespace, begun } = unknownDevice(t, (reason) => void reasons.push(reason));
  await begun();
  await sleep(200); // it is idle
  namespace.ip(['link del tun3']);
  await until('the removal to be noticed', () => reasons[0] === 'device-gone');
});

test('raising the MTU while the tunnel runs truncates nothing', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns', 'nft', 'ping')) return;
  const lab = new Lab(t);
  const { laptop, gateway } = lab.net;
  // Prepared by hand as in the post: lametun would keep its own settings.
  const prepare = (address: string): string[] => [
    ...['tuntap add dev tun0 mode tun', `addr add ${address} dev tun0`, 'link set tun0 up mtu 1468'],
  ];
  gateway.ip(prepare('10.0.0.1/24'));
  laptop.ip(prepare('10.0.0.2/24'));
  const office = await lab.lametun(gateway, ['-listen']).ready();
  const home = await lab.lametun(laptop, ['-server', ADDRESS.office.v4]).ready();
  for (const mtu of [1468, 9000, 60_000]) {
    laptop.ip([`link set tun0 mtu ${mtu}`]);
    gateway.ip([`link set tun0 mtu ${mtu}`]);
    const size = mtu - 28; // the largest packet; its datagram is fragmented on the way
    // A busy machine may lose one of 41 fragments, and so the packet, but not every time.
    await until(`packets of ${mtu} bytes`, async () => {
      return (await ping(laptop, '10.0.0.1', { size, whole: true })).received === 1;
    });
  }
  for (const tunnel of [office, home]) {
    const stats = tunnel.events.findLast((event) => event.event === 'stats');
    assert.equal(stats?.drops['too-big'] ?? 0, 0);
    assert.equal(stats?.drops.malformed ?? 0, 0);
  }
});
