import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { DataPlane, type DataPlaneOptions } from '../../tests/kit/data-plane.js';
import { makeSuperPacket } from '../../tests/kit/packets.js';
import { SeededRandom } from '../../tests/kit/random.js';
import { until } from '../../tests/kit/wait.js';
import { VIRTIO } from '../ip/virtio.js';
import { allocate } from '../linux/ffi/memory.js';
import { receiveSegments, UdpSocket } from '../linux/net/udp.js';
import { ReceiveBatch } from '../packets/udp-batch.js';
import { MAGIC, RELAY_CONTROL, RELAY_FRAME } from '../protocol/relay.js';
import { INITIATION } from '../wireguard/messages.js';
import { REPORT, REPORT_RECORD, REPORTS, REPORTS_DATAGRAM, REPORTS_SIDE_CHANNEL } from './messages.js';

const MEMBER = 0x8000_0007;
const SEGMENT = 1000;
/** The longest datagram that the control plane accepts. */
const LONGEST = REPORT_RECORD.size - REPORT_RECORD.datagram;

/** Sends to the data plane from the relay's port. */
interface Sender {
  readonly port: number;
  /** Sends datagrams, and waits until the data plane has handled all of them. */
  send(...datagrams: readonly Uint8Array[]): Promise<void>;
}

async function setUp(
  t: TestContext,
  options: DataPlaneOptions,
): Promise<{ plane: DataPlane; sender: Sender }> {
  const plane = new DataPlane(options);
  t.after(() => plane.close());
  const socket = await listen(t);
  const handled = (): number => dropped(plane) + plane.reports;
  const send: Sender['send'] = async (...datagrams) => {
    const before = handled();
    await sendAll(socket, plane.port, datagrams);
    await until('all datagrams to be handled', () => {
      plane.turn();
      return handled() >= before + datagrams.length;
    });
    assert.equal(handled(), before + datagrams.length);
  };
  return { plane, sender: { port: socket.address().port, send } };
}

async function listen(t: TestContext): Promise<Socket> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  t.after(() => socket.close());
  await once(socket, 'listening');
  return socket;
}

async function sendAll(socket: Socket, port: number, datagrams: readonly Uint8Array[]): Promise<void> {
  for (const datagram of datagrams) {
    await new Promise((resolve) => socket.send(datagram, port, '127.0.0.1', resolve));
  }
}

const dropped = (plane: DataPlane): number =>
  plane.drops.entries().reduce((sum, [, count]) => sum + count, 0);

const startingWith = (magic: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(length).fill(0x5a);
  new DataView(bytes.buffer).setInt32(0, magic, true);
  return bytes;
};
const frame = (peer: number, inside: Uint8Array): Uint8Array => {
  const bytes = startingWith(MAGIC.relay, RELAY_FRAME.payload + inside.length);
  new DataView(bytes.buffer).setUint32(RELAY_FRAME.peer, peer, true);
  bytes.set(inside, RELAY_FRAME.payload);
  return bytes;
};
const probe = (length: number): Uint8Array => startingWith(MAGIC.probe, length);
const initiation = startingWith(1, INITIATION.length);

/** Gives the tunnel a large packet. @returns the length of its payload */
function give(plane: DataPlane, segments: number): number {
  const payload = Uint8Array.from({ length: segments * SEGMENT - 7 }, (_, i) => i * 31 + (i >> 8));
  const packet = makeSuperPacket({ version: 4, protocol: 'tcp', payload }, SEGMENT);
  const memory = allocate(packet.length);
  memory.bytes.set(packet);
  plane.give(memory.address, packet.length);
  return payload.length;
}

/** Waits until the device has received exactly this many bytes of TCP payload. */
async function arrival(plane: DataPlane, bytes: number): Promise<void> {
  let received = 0;
  await until('all packets to arrive', () => {
    plane.turn();
    for (let length = plane.take(); length > 0; length = plane.take())
      received += length - VIRTIO.length - 40;
    return received >= bytes;
  });
  assert.equal(received, bytes);
}

test('each message for a peer behind a relay has its own frame, and the kernel splits the run', async (t) => {
  const { plane } = await setUp(t, { relayPeer: MEMBER, sideChannel: true });
  const relay = UdpSocket.open(0);
  t.after(() => relay.close());
  assert.ok(receiveSegments(relay.fd));
  plane.peerPort = relay.port;
  give(plane, 40);
  plane.turn();
  const batch = new ReceiveBatch(64);
  let [bundles, messages] = [0, 0];
  await until('all frames to arrive', () => {
    const slots = Math.max(batch.receive(relay.fd), 0);
    bundles += slots;
    for (let slot = 0; slot < slots; slot++) {
      const size = batch.segmentSize(slot);
      for (let at = 0; at < batch.length(slot); at += size) {
        const start = batch.offset(slot) + at;
        assert.equal(batch.memory.view.getInt32(start, true), MAGIC.relay);
        assert.equal(batch.memory.view.getUint32(start + RELAY_FRAME.peer, true), MEMBER);
        assert.equal(batch.memory.view.getUint32(start + RELAY_FRAME.payload, true), 4, 'transport data');
        messages++;
      }
    }
    return messages >= 40;
  });
  assert.equal(messages, 40);
  assert.ok(bundles <= 3, `${bundles} bundles`);
});

test('framed messages from the relay are opened, whether the kernel bundles them or not, and nothing is lost', async (t) => {
  const { plane } = await setUp(t, { relayPeer: MEMBER, sideChannel: true });
  for (const segments of [true, false]) {
    plane.sendsRuns = segments;
    let sent = 0;
    for (let i = 0; i < 3; i++) sent += give(plane, 40);
    await arrival(plane, sent);
  }
  assert.deepEqual(plane.drops.entries(), []);
  assert.equal(plane.report(), undefined, 'the peer has not moved');
});

test('a device without a side channel counts frames and probes as malformed', async (t) => {
  const { plane, sender } = await setUp(t, { relayPeer: MEMBER });
  plane.setRelayPort(sender.port);
  await sender.send(frame(5, initiation), probe(64), startingWith(MAGIC.control, RELAY_CONTROL.minLength));
  assert.deepEqual(plane.drops.entries(), [['malformed', 3]]);
});

test('only frames from the relay are accepted', async (t) => {
  const { plane, sender } = await setUp(t, { sideChannel: true });
  await sender.send(frame(5, initiation));
  assert.deepEqual(plane.drops.entries(), [['not-the-relay', 1]], 'no relay yet');
  plane.setRelayPort(sender.port + 1);
  await sender.send(frame(5, initiation));
  assert.deepEqual(plane.drops.entries(), [['not-the-relay', 2]]);
  assert.equal(plane.report(), undefined);
  plane.setRelayPort(sender.port);
  await sender.send(frame(5, initiation));
  const { port } = sender;
  assert.deepEqual(plane.report(), { report: REPORT.datagram, port, relayPeer: 5, datagram: initiation });
  assert.deepEqual(plane.drops.entries(), [['not-the-relay', 2]]);
  plane.setRelayPort(sender.port + 1);
  plane.setRelayPort(sender.port, 1);
  await sender.send(frame(5, initiation));
  assert.equal(plane.report()?.relayPeer, 5, 'a relay may have two addresses');
});

test('control messages from anyone are passed on, because the relay answers before it is used', async (t) => {
  const { plane, sender } = await setUp(t, { sideChannel: true });
  const control = startingWith(MAGIC.control, RELAY_CONTROL.minLength);
  const { port } = sender;
  for (const relayPort of [undefined, port + 1, port]) {
    if (relayPort !== undefined) plane.setRelayPort(relayPort);
    await sender.send(control);
    assert.deepEqual(plane.report(), { report: REPORT.sideChannel, port, relayPeer: 0, datagram: control });
  }
  assert.deepEqual(plane.drops.entries(), []);
});

test('while the interface is down, only the side channel works', async (t) => {
  const { plane, sender } = await setUp(t, { sideChannel: true });
  plane.setRelayPort(sender.port);
  plane.context.up = false;
  const control = startingWith(MAGIC.control, RELAY_CONTROL.minLength);
  await sender.send(control, initiation, frame(MEMBER, initiation));
  assert.deepEqual(plane.report()?.datagram, control);
  assert.equal(plane.report(), undefined);
  assert.deepEqual(plane.drops.entries(), [['down', 2]]);
});

test("a probe from anyone is passed on unchanged, and one through the relay with its sender's id", async (t) => {
  const { plane, sender } = await setUp(t, { sideChannel: true });
  const { port } = sender;
  await sender.send(probe(LONGEST), probe(9));
  assert.deepEqual(plane.report(), {
    report: REPORT.sideChannel,
    port,
    relayPeer: 0,
    datagram: probe(LONGEST),
  });
  assert.deepEqual(plane.report(), { report: REPORT.sideChannel, port, relayPeer: 0, datagram: probe(9) });
  plane.setRelayPort(port);
  await sender.send(frame(MEMBER, probe(LONGEST)));
  assert.deepEqual(plane.report(), {
    report: REPORT.sideChannel,
    port,
    relayPeer: MEMBER,
    datagram: probe(LONGEST),
  });
});

test('anything except frames, probes and messages is dropped, even from the relay', async (t) => {
  const { plane, sender } = await setUp(t, { sideChannel: true });
  plane.setRelayPort(sender.port);
  const wrong = [
    probe(LONGEST + 1),
    probe(7),
    frame(0, initiation),
    frame(0, probe(64)),
    frame(5, new Uint8Array(0)),
    frame(5, frame(6, initiation)),
    frame(5, startingWith(MAGIC.control, RELAY_CONTROL.minLength)),
    frame(5, initiation.subarray(1)),
    frame(5, probe(LONGEST + 1)),
    frame(5, initiation).subarray(0, 7),
    startingWith(MAGIC.control, RELAY_CONTROL.maxLength + 1),
    startingWith(MAGIC.control, RELAY_CONTROL.minLength - 1),
  ];
  await sender.send(...wrong);
  assert.deepEqual(plane.drops.entries(), [['malformed', wrong.length]]);
  assert.equal(plane.report(), undefined);
});

test('every datagram is either passed on or counted', async (t) => {
  const { plane, sender } = await setUp(t, { sideChannel: true });
  plane.setRelayPort(sender.port);
  const random = new SeededRandom(5);
  let handedOn = 0;
  for (let round = 0; round < 50; round++) {
    const datagrams = Array.from({ length: 8 }, () => {
      const inside = new Uint8Array(random.below(300));
      random.fill(inside);
      if (inside.length >= 4) inside.set([1 + random.below(4), 0, 0, 0]);
      return random.chance(0.5) ? inside : frame(random.below(3), inside);
    });
    await sender.send(...datagrams);
    while (plane.report()) handedOn++;
  }
  assert.equal(handedOn + dropped(plane), 400);
});

test('probes leave half of the queue to handshakes', async (t) => {
  const { plane, sender } = await setUp(t, { sideChannel: true });
  for (let sent = 0; sent < REPORTS; sent += 16) {
    await sender.send(...Array.from({ length: 16 }, () => probe(64)));
  }
  assert.deepEqual(plane.drops.entries(), [['busy', REPORTS - REPORTS_SIDE_CHANNEL]]);
  await sender.send(initiation);
  assert.deepEqual(plane.drops.entries(), [['busy', REPORTS - REPORTS_SIDE_CHANNEL]]);
});

test('handshakes, which strangers can send, leave room for roaming reports', async (t) => {
  const { plane, sender } = await setUp(t, { sideChannel: true });
  for (let sent = 0; sent < REPORTS; sent += 16) {
    await sender.send(...Array.from({ length: 16 }, () => initiation));
  }
  assert.deepEqual(plane.drops.entries(), [['busy', REPORTS - REPORTS_DATAGRAM]]);
  const elsewhere = await listen(t);
  const { port } = elsewhere.address();
  plane.peerPort = port;
  const sent = give(plane, 1);
  plane.turn();
  const [datagram] = (await once(elsewhere, 'message')) as [Buffer];
  plane.peerPort = plane.port;
  await sendAll(elsewhere, plane.port, [datagram]);
  await arrival(plane, sent);
  assert.equal(plane.endpoint.port, port);
  assert.equal(plane.reports, REPORTS_DATAGRAM + 1);
});

test('an authentic packet from another endpoint moves its peer, even behind a relay', async (t) => {
  const { plane } = await setUp(t, { relayPeer: MEMBER, sideChannel: true });
  await arrival(plane, give(plane, 1));
  assert.deepEqual(plane.endpoint, { port: plane.port, relayPeer: MEMBER });
  assert.equal(plane.report(), undefined);
  await passOn(t, plane, MEMBER);
  const { port, relayPeer } = plane.endpoint;
  assert.notEqual(port, plane.port);
  assert.equal(relayPeer, MEMBER);
  await passOn(t, plane, 9);
  assert.equal(plane.endpoint.relayPeer, 9);
  const told = plane.report()!;
  assert.deepEqual([told.report, told.port, told.relayPeer], [REPORT.roaming, plane.endpoint.port, 9]);
  assert.equal(plane.report(), undefined);
});

test('if the owner sets endpoints, an authentic packet from another endpoint is accepted but moves no peer', async (t) => {
  const { plane } = await setUp(t, { relayPeer: MEMBER, sideChannel: true, followsPeers: false });
  await passOn(t, plane, 9);
  assert.equal(plane.endpoint.relayPeer, MEMBER);
  assert.equal(plane.report(), undefined);
  assert.deepEqual(plane.drops.entries(), []);
});

/** Asserts that a packet arrives from a relay that returns it as another member's. */
async function passOn(t: TestContext, plane: DataPlane, member: number): Promise<void> {
  const relay = await listen(t);
  plane.peerPort = relay.address().port;
  plane.setRelayPort(relay.address().port);
  const sent = give(plane, 1);
  plane.turn();
  const [datagram] = (await once(relay, 'message')) as [Buffer];
  datagram.writeUInt32LE(member, RELAY_FRAME.peer);
  await sendAll(relay, plane.port, [datagram]);
  await arrival(plane, sent);
}
