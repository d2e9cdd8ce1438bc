import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get } from 'node:http';
import { connect, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { TestNode } from '../../../tests/kit/test-node.js';
import { UPGRADE } from '../../../tests/kit/upgrade-request.js';
import { until } from '../../../tests/kit/wait.js';
import { NodeCrypto } from '../../crypto/node-crypto.js';
import { libc } from '../../linux/ffi/libc.js';
import { allocate } from '../../linux/ffi/memory.js';
import { CHANNEL_PATH } from '../../protocol/channel.js';
import type { NodeMessage } from '../../protocol/messages.js';
import { welcome } from '../../protocol/versions.js';
import { AddressLimit } from '../machine/limits.js';
import type { Session } from '../machine/session.js';
import { HubServer, type ServerOptions } from './server.js';

const crypto = new NodeCrypto();

/** TCP_MAXSEG: the largest segment that a connected socket may send. */
function segmentSize(fd: number): number {
  const { view, address } = allocate(8);
  view.setUint32(4, 4, true);
  assert.equal(libc.getsockopt(fd, 6, 2, address, address + 4), 0);
  return view.getUint32(0, true);
}

interface Scene {
  readonly server: HubServer;
  readonly place: { port: number; publicKey: Uint8Array };
  readonly messages: NodeMessage[];
  readonly connections: Session[];
}

async function scene(
  t: TestContext,
  handle?: (client: Session, message: NodeMessage) => Promise<void>,
  options: Pick<ServerOptions, 'handshakes'> = {},
): Promise<Scene> {
  const privateKey = crypto.generate();
  const messages: NodeMessage[] = [];
  const connections: Session[] = [];
  const server = await HubServer.listen({
    ...options,
    port: 0,
    crypto,
    privateKey,
    answer: (hello) => welcome(hello, 'test'),
    events: {
      message: async (client, message) => {
        if (!connections.includes(client)) connections.push(client);
        messages.push(message);
        if (handle !== undefined) await handle(client, message);
        else client.send({ type: 'answer', re: message.id, value: { online: [] } });
      },
      frame: () => {},
      closed: () => {},
    },
  });
  t.after(() => server.close());
  return {
    server,
    place: { port: server.port, publicKey: privateKey.publicKey.bytes },
    messages,
    connections,
  };
}

async function node(t: TestContext, { place }: Scene): Promise<TestNode> {
  const made = await new TestNode().connect(place);
  t.after(() => made.close());
  return made;
}

test('plain HTTP gets a short answer that reveals nothing', async (t) => {
  const { server } = await scene(t);
  for (const path of ['/', CHANNEL_PATH, '/../etc/passwd']) {
    const [response] = (await once(get({ port: server.port, path }), 'response')) as [
      import('node:http').IncomingMessage,
    ];
    response.setEncoding('utf8');
    assert.equal(response.statusCode, 404);
    assert.equal((await response.toArray()).join(''), 'not found\n');
    assert.equal(response.headers['server'] ?? response.headers['x-powered-by'], undefined);
  }
  assert.equal(server.counters()['plain-http'], 3);
});

test('a WebSocket at another path is not a channel', async (t) => {
  const { server, place } = await scene(t);
  await assert.rejects(new TestNode().connect(place, undefined, '/'), /404/);
  assert.equal(server.counters()['bad-upgrade'], 1);
});

test('a client without the hub’s key is disconnected', async (t) => {
  const { server } = await scene(t);
  const other = { port: server.port, publicKey: crypto.generate().publicKey.bytes };
  await assert.rejects(new TestNode().connect(other));
  assert.equal(server.counters()['bad-handshake'], 1);
  assert.equal(server.open, 0);
});

test('garbage in every form ends the connection, and is counted', async (t) => {
  const { server } = await scene(t);
  for (const garbage of [new Uint8Array(0), new Uint8Array(48), new Uint8Array(60_000), 'text']) {
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}${CHANNEL_PATH}`);
    await once(socket, 'open');
    socket.send(garbage);
    await once(socket, 'close');
  }
  const tooLong = new WebSocket(`ws://127.0.0.1:${server.port}${CHANNEL_PATH}`);
  tooLong.on('error', () => {});
  await once(tooLong, 'open');
  tooLong.send(new Uint8Array(70_000));
  await once(tooLong, 'close');
  await until('all drops to be counted', () => {
    const counters = server.counters();
    return counters['bad-handshake'] + counters['bad-message'] + counters.gone === 5;
  });
  const raw = connect(server.port, '127.0.0.1');
  raw.on('error', () => {});
  raw.end('\0\0\0\0 nonsense\r\n\r\n');
  await once(raw, 'close');
});

test('a client without a proven key cannot send more than a first message, in any pieces', async (t) => {
  const { server } = await scene(t);
  const fragment = (first: boolean, length: number): Buffer =>
    Buffer.from([first ? 0x02 : 0x00, 0x80 | length, 0, 0, 0, 0, ...Buffer.alloc(length)]);
  const openings = {
    'many fragments': Buffer.concat([
      fragment(true, 1),
      ...Array.from({ length: 99 }, () => fragment(false, 1)),
    ]),
    'a long frame': Buffer.of(0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0),
    'a long message': Buffer.concat([
      fragment(true, 125),
      Buffer.from([0x00, 0xfe, 0x04, 0x00, 0, 0, 0, 0, ...Buffer.alloc(1024)]),
    ]),
  };
  for (const [what, opening] of Object.entries(openings)) {
    const socket = connect(server.port, '127.0.0.1').on('error', () => {});
    socket.write(UPGRADE);
    await once(socket, 'data');
    socket.write(opening);
    await until(`${what} to end the connection`, () => socket.resume().destroyed);
  }
  const { 'too-many': tooMany, 'bad-handshake': bad } = server.counters();
  assert.deepEqual([tooMany, bad], [1, 2]);
});

test('handshakes are limited per address, even behind a proxy', async (t) => {
  const { server } = await scene(t, undefined, { handshakes: new AddressLimit({ rate: 1e-6, burst: 2 }) });
  const upgrade = async (address: string): Promise<string | undefined> => {
    const socket = connect(server.port, '127.0.0.1').on('error', () => {});
    t.after(() => socket.destroy());
    socket.write(`${UPGRADE.slice(0, -2)}X-Forwarded-For: 10.0.0.1, ${address}\r\n\r\n`);
    const [answer] = (await Promise.race([once(socket, 'data'), once(socket, 'close')])) as [unknown];
    socket.destroy();
    return answer instanceof Buffer ? answer.toString('latin1', 9, 12) : undefined;
  };
  assert.deepEqual(
    [await upgrade('192.0.2.1'), await upgrade('192.0.2.1'), await upgrade('192.0.2.1')],
    ['101', '101', undefined],
  );
  assert.equal(await upgrade('192.0.2.2'), '101');
  assert.equal(server.counters()['too-often'], 1);
});

test('an older protocol is refused with both versions in the message', async (t) => {
  const { place, server } = await scene(t);
  const old = new TestNode();
  await assert.rejects(old.connect(place, { protocol: [99], program: 'lametun 9' }), /lametun 9 .*test/);
  await until('the drop to be counted', () => server.counters()['bad-version'] === 1);
});

test('a malformed request is refused, and one without an id ends the connection', async (t) => {
  const s = await scene(t);
  const client = await node(t, s);
  client.sendRaw({ type: 'attach', id: 7, have: 'nonsense' });
  await until('the refusal', () =>
    client.messages.some((m) => m.type === 'refused' && m.re === 7 && m.code === 'bad-request'),
  );
  await client.ask({ type: 'who' });
  client.sendRaw({ nonsense: true });
  assert.equal(await client.closed(), 4005);
});

test('too many requests are refused, then the client is disconnected', async (t) => {
  const s = await scene(t, async () => {
    await sleep(1); // like a database
  });
  const client = await node(t, s);
  for (let i = 0; i < 20; i++) client.sendRaw({ type: 'who', id: i });
  await until('the requests', () => s.messages.length === 20);
  for (let i = 20; i < 400; i++) client.sendRaw({ type: 'who', id: i });
  await client.closed();
  assert.equal(s.server.counters()['too-many'], 1);
  assert.ok(s.messages.length < 100, `${s.messages.length} were handled`);
});

test('requests of one client are handled one by one, those of others at the same time', async (t) => {
  const order: string[] = [];
  const s = await scene(t, async (client, message) => {
    order.push(`begin ${message.id}`);
    if (message.id === 1) await until('the other request', () => order.includes('end 3'));
    else await sleep(1);
    order.push(`end ${message.id}`);
    client.send({ type: 'answer', re: message.id, value: {} });
  });
  const [a, b] = [await node(t, s), await node(t, s)];
  a.sendRaw({ type: 'who', id: 1 });
  a.sendRaw({ type: 'who', id: 2 });
  await until('the first request', () => order.length > 0);
  b.sendRaw({ type: 'who', id: 3 });
  await until('all', () => order.length === 6);
  assert.deepEqual(order, ['begin 1', 'begin 3', 'end 3', 'end 1', 'begin 2', 'end 2']);
});

test('a client that reads nothing loses frames, and is disconnected before much is buffered', async (t) => {
  const s = await scene(t);
  const slow = await node(t, s);
  await slow.ask({ type: 'who' });
  const [connection] = s.connections;
  connection!.admit();
  slow.socket!.pause();
  for (let i = 0; i < 20_000; i++) connection!.sendFrame(1, new Uint8Array(1_280));
  assert.ok(connection!.droppedFrames > 10_000);
  const message = new Uint8Array(1 << 20).fill(32);
  for (let i = 0; i < 40; i++) connection!.sendEncoded(message, () => {});
  await until('the disconnect', () => s.server.counters().backlog === 1);
  assert.equal(s.server.open, 0);
});

test('data queued for a slow reader arrives complete and in order', async (t) => {
  const s = await scene(t);
  const slow = await node(t, s);
  await slow.ask({ type: 'who' });
  const [connection] = s.connections;
  connection!.admit();
  slow.socket!.pause();
  const nodes = Array.from({ length: 5_000 }, (_, i) => ({
    id: i + 1,
    name: `node-${i}`,
    key: Buffer.alloc(32, i).toString('base64'),
    ipv4: '10.0.0.1',
    ipv6: 'fd00::1',
    shares: [],
  }));
  const map = { type: 'map' as const, version: { epoch: 'e', revision: 1 }, nodes };
  let taken = 0;
  connection!.sendEncoded(Buffer.from(JSON.stringify(map)), () => taken++);
  connection!.send({ type: 'removed', network: 'n1' });
  connection!.close();
  await sleep(50);
  slow.socket!.resume();
  await slow.closed();
  assert.equal(taken, 1);
  assert.equal(slow.map.size, 5_000);
  assert.equal(slow.messages.at(-1)?.type, 'removed');
});

test('a port in use is reported with what to do', async (t) => {
  const blocker = createServer().listen(0, '::');
  t.after(() => blocker.close());
  await once(blocker, 'listening');
  const { port } = blocker.address() as { port: number };
  const options = {
    port,
    crypto,
    privateKey: crypto.generate(),
    answer: () => ({ protocol: 1, program: '' }),
  };
  const events = { message: async () => {}, frame: () => {}, closed: () => {} };
  await assert.rejects(
    HubServer.listen({ ...options, events }),
    new RegExp(`TCP port ${port} is used.*--port`),
  );
});

test('TCP segments of the hub fit every path', async (t) => {
  const { server } = await scene(t);
  const socket = connect(server.port, '127.0.0.1');
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  const { fd } = (socket as unknown as { readonly _handle: { readonly fd: number } })._handle;
  assert.ok(segmentSize(fd) <= 1220, `${segmentSize(fd)} bytes on a loopback device of 65 536`);
});
