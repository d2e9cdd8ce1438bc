import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { DataPlane } from '../../tests/kit/data-plane.js';
import { makeSuperPacket } from '../../tests/kit/packets.js';
import { until } from '../../tests/kit/wait.js';
import { allocate } from '../linux/ffi/memory.js';
import { AF } from '../linux/net/socket-address.js';
import { ENDPOINT } from '../packets/udp-batch.js';
import { readEndpoint, writeEndpoint } from './kernel-endpoint.js';
import { forgetSource, type PeerState, useSource } from './peers.js';

/** A data plane whose peer is a socket of the test, which sends to any local address. */
async function setUp(t: TestContext) {
  const plane = new DataPlane({ seesDestinations: true });
  t.after(() => plane.close());
  const peer = createSocket('udp4').bind(0, '127.0.0.1');
  t.after(() => peer.close());
  await once(peer, 'listening');
  let received = 0;
  const write = async (ours: string): Promise<void> => {
    const datagram = await message(plane, peer);
    await new Promise((resolve) => peer.send(datagram, plane.port, ours, resolve));
    await until('the datagram to arrive', () => plane.turnIn() > 0);
    while (plane.take() > 0) received++;
  };
  return { plane, write, received: () => received };
}

/** A message from the peer, made by the data plane itself. */
async function message(plane: DataPlane, peer: Socket): Promise<Buffer> {
  const packet = makeSuperPacket({ version: 4, protocol: 'tcp', payload: new Uint8Array(10) }, 10);
  const memory = allocate(packet.length);
  memory.bytes.set(packet);
  plane.give(memory.address, packet.length);
  plane.peerPort = peer.address().port;
  plane.turnOut();
  const [datagram] = (await once(peer, 'message')) as [Buffer];
  return datagram;
}

const sourceOf = ({ endpoints, endpoint }: PeerState) => {
  const { address, interface: number } = readEndpoint(endpoints, endpoint).source ?? {};
  return address && `${address.join('.')} by ${number}`;
};

test('answers are sent from the address that the peer used last, and each change is reported once', async (t) => {
  const { plane, write, received } = await setUp(t);
  for (const ours of ['127.0.0.1', '127.0.0.1', '127.0.0.2', '127.0.0.2', '127.0.0.2', '127.0.0.1']) {
    await write(ours);
    assert.equal(sourceOf(plane.peer), `${ours} by 1`);
  }
  assert.equal(received(), 6);
  assert.equal(plane.reports, 3);
});

test('a disabled source address stays unused until the peer uses another one', async (t) => {
  const { plane, write } = await setUp(t);
  await write('127.0.0.1');
  const { peer } = plane;
  const use = (value: boolean): void => {
    const record = allocate(ENDPOINT.size);
    writeEndpoint(record, 0, AF.inet6, known);
    useSource(peer, record.bytes, record.view, 0, value);
  };
  const known = readEndpoint(peer.endpoints, peer.endpoint);
  use(false);
  assert.equal(sourceOf(peer), undefined);
  await write('127.0.0.1');
  assert.equal(sourceOf(peer), undefined);
  assert.equal(plane.reports, 1);
  use(true);
  assert.equal(sourceOf(peer), '127.0.0.1 by 1');
  use(false);
  await write('127.0.0.2');
  assert.equal(sourceOf(peer), '127.0.0.2 by 1');
  assert.equal(plane.reports, 2);
  use(false); // about the previous address
  assert.equal(sourceOf(peer), '127.0.0.2 by 1');
});

test('a forgotten source address is learned again from the next packet', async (t) => {
  const { plane, write } = await setUp(t);
  await write('127.0.0.1');
  forgetSource(plane.peer);
  assert.equal(sourceOf(plane.peer), undefined);
  await write('127.0.0.1');
  assert.equal(sourceOf(plane.peer), '127.0.0.1 by 1');
  assert.equal(plane.reports, 2);
});
