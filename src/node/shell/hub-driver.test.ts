import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { after, afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  attachedAnswer,
  mapNode,
  member,
  NETWORK,
  Refused,
  SmallHub,
  type SmallHubNode,
} from '../../../tests/kit/small-hub.js';
import { until } from '../../../tests/kit/wait.js';
import { NodeCrypto } from '../../crypto/node-crypto.js';
import { LametunError } from '../../errors.js';
import { bootTime } from '../../linux/process/clock.js';
import { NetworkMap } from '../../protocol/map.js';
import type { HubAddress } from '../../protocol/token.js';
import type { HubClientOptions } from '../machine/hub/hub-client.js';
import type { HubEvent } from '../machine/hub/hub-events.js';
import type { HubFailure } from '../machine/hub/hub-failure.js';
import type { HubRequest } from '../machine/hub/hub-session.js';
import { HubDriver } from './hub-driver.js';

const crypto = new NodeCrypto();
const [hubKey, nodeKey] = [crypto.generate(), crypto.generate()];
const wish = { secret: new Uint8Array(16).fill(9), name: 'laptop', shares: [] };

let hub: SmallHub;
let port: number;
let map: NetworkMap;
const clients: HubDriver[] = [];

beforeEach(async () => {
  hub = new SmallHub(crypto, hubKey);
  port = await hub.listen();
  map = new NetworkMap();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await hub.close();
});
after(() => {
  hubKey.destroy();
  nodeKey.destroy();
});

const at = (host: string, where = port): HubAddress => ({ host, port: where, tls: false });

/** A client and its events. @param check see `HubDriver.join` */
function client(
  options: Partial<HubClientOptions> = {},
  check: (network: { readonly name: string }) => Promise<void> = async () => {},
) {
  const events: HubEvent[] = [];
  const driver = new HubDriver({
    crypto,
    privateKey: nodeKey,
    hubKey: hubKey.publicKey.bytes,
    addresses: [at('127.0.0.1')],
    program: 'test 1',
    map,
    member: { network: NETWORK.id },
    random: () => 0, // the shortest waits
    ...options,
  });
  clients.push(driver);
  driver.join(check, undefined).catch(() => {});
  const { onEvent } = driver;
  driver.onEvent = (event) => {
    events.push(event.kind === 'frame' ? { ...event, datagram: event.datagram.slice() } : event);
    if (event.kind === 'invitation') onEvent(event);
  };
  const next = async <K extends HubEvent['kind']>(kind: K): Promise<Extract<HubEvent, { kind: K }>> => {
    const found = await until(
      `the event ${kind}`,
      () => events.findIndex((event) => event.kind === kind) + 1 || false,
    );
    return events.splice(0, found).at(-1) as Extract<HubEvent, { kind: K }>;
  };
  driver.start();
  const node = {
    get state() {
      return driver.client.state;
    },
    close: () => driver.close(),
    networkChanged: (isOwn: () => boolean) => {
      driver.client.networkChanged(isOwn, bootTime());
      driver.settle();
    },
    request: (request: HubRequest) => driver.request(request),
    sendFrame: (peer: number, datagram: Uint8Array) => driver.sockets.sendFrame(peer, datagram),
  };
  return { client: node, events, next };
}
const onlyNode = (): SmallHubNode => {
  assert.equal(hub.nodes.size, 1);
  return [...hub.nodes][0]!;
};

test('a member attaches with its key, and follows the map', async () => {
  const { client: node, next } = client();
  const connected = await next('connected');
  assert.deepEqual(connected.remote, { address: Uint8Array.of(127, 0, 0, 1), port });
  assert.deepEqual([connected.network, connected.you], [NETWORK, member(1)]);
  assert.deepEqual([...onlyNode().key], [...nodeKey.publicKey.bytes]);
  const [first] = hub.asked;
  assert.ok(first?.type === 'attach' && first.network === NETWORK.id && first.have === undefined);
  assert.equal(node.state.kind, 'connected');

  onlyNode().send({ type: 'map', version: { epoch: 'e', revision: 3 }, nodes: [mapNode(1), mapNode(2)] });
  assert.deepEqual((await next('map')).change.added, [mapNode(1), mapNode(2)]);
  onlyNode().send({
    type: 'delta',
    from: 3,
    version: { epoch: 'e', revision: 4 },
    nodes: [mapNode(5)],
    removed: [2],
  });
  assert.deepEqual((await next('map')).change, { added: [mapNode(5)], changed: [], removed: [mapNode(2)] });
  onlyNode().send({ type: 'you', you: { ...member(1), admin: true } });
  assert.equal((await next('you')).you.admin, true);
});

test('after a lost connection the client reconnects, and names the version of its map', async () => {
  const { client: node, next } = client();
  await next('connected');
  onlyNode().send({ type: 'map', version: { epoch: 'e', revision: 3 }, nodes: [] });
  await next('map');
  onlyNode().breakOff();
  const { failure, retryIn } = await next('disconnected');
  assert.equal(failure.kind, 'lost');
  assert.ok(retryIn !== undefined && retryIn <= 1000);
  assert.equal(node.state.kind, 'waiting');
  await assert.rejects(node.request({ type: 'who' }), { kind: 'unreachable' });
  await next('connected');
  const [first, last] = hub.asked;
  assert.ok(first?.type === 'attach' && last?.type === 'attach');
  assert.deepEqual(last.have, { epoch: 'e', revision: 3 });
  assert.equal(last.as.run, first.as.run);
  assert.ok(last.as.turn > first.as.turn);
});

test('after a network change, a silent hub is abandoned within 2 s, and found again', async () => {
  const { client: node, next, events } = client();
  await next('connected');
  node.networkChanged(() => true);
  await sleep(1_700);
  assert.deepEqual(events, [], 'a connection that still is one is kept');
  onlyNode().fallSilent();
  const began = performance.now();
  node.networkChanged(() => true);
  assert.equal((await next('disconnected')).failure.message, 'the hub stopped answering');
  await next('connected');
  const took = performance.now() - began;
  assert.ok(took > 1_400 && took < 10_000, `${took} ms`); // two seconds on an idle machine
});

test('a network change restarts connection attempts', async () => {
  const deaf = createServer().listen(0, '127.0.0.1');
  await until('a port', () => deaf.listening);
  const { port: silent } = deaf.address() as { port: number };
  try {
    let accepted = 0;
    deaf.on('connection', () => accepted++);
    const { client: node, events } = client({ addresses: [at('127.0.0.1', silent)] });
    await until('a connection', () => accepted === 1);
    node.networkChanged(() => true);
    await until('another', () => accepted === 2);
    assert.deepEqual([events, node.state.kind], [[], 'connecting']);
  } finally {
    deaf.close();
  }
});

test('a slow hub is reached although the network changes all the time', async () => {
  const slow = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (bytes) => setTimeout(() => to.write(bytes), 250));
      from.on('close', () => to.destroy());
      from.on('error', () => {});
    }
  }).listen(0, '127.0.0.1');
  await until('a port', () => slow.listening);
  const { port: there } = slow.address() as { port: number };
  const { client: node, next } = client({ addresses: [at('127.0.0.1', there)] });
  const changes = setInterval(() => node.networkChanged(() => true), 400);
  try {
    await next('connected');
  } finally {
    clearInterval(changes);
    slow.close();
  }
});

test('a delta that does not fit makes the client request the whole map', async () => {
  const { next } = client();
  await next('connected');
  onlyNode().send({ type: 'map', version: { epoch: 'e', revision: 3 }, nodes: [] });
  await next('map');
  onlyNode().send({ type: 'delta', from: 7, version: { epoch: 'e', revision: 8 }, nodes: [], removed: [] });
  await until('the question', () => hub.asked.length === 2);
  assert.ok(hub.asked[1]?.type === 'attach' && hub.asked[1].have === undefined);
  onlyNode().send({ type: 'map', version: { epoch: 'e', revision: 8 }, nodes: [mapNode(1)] });
  assert.deepEqual((await next('map')).change.added, [mapNode(1)]);
});

test('a joining machine checks the invitation first, joins, and attaches as a member', async () => {
  hub.answer = ({ type }) =>
    type === 'check-invitation'
      ? { network: NETWORK }
      : type === 'join'
        ? { network: NETWORK, you: member(4) }
        : attachedAnswer(4);
  const looked: string[] = [];
  const { events, next } = client({ member: { join: wish } }, async ({ name }) => void looked.push(name));
  await next('connected');
  assert.deepEqual(looked, ['home']);
  assert.deepEqual(
    hub.asked.map(({ type }) => type),
    ['check-invitation', 'join', 'attach'],
  );
  assert.ok(events.length === 0);
  assert.equal(
    hub.asked[0]!.type === 'check-invitation' && hub.asked[0]!.secret,
    Buffer.alloc(16, 9).toString('base64'),
  );

  // It received `joined` before, and returns as a member.
  onlyNode().breakOff();
  await next('connected');
  assert.equal(hub.asked.at(-1)!.type, 'attach');
});

test("a network that the caller rejects is not joined, and the failure has the caller's reason", async () => {
  hub.answer = () => ({ network: NETWORK });
  const refusal = new LametunError('usage', '10.7.0.0/16 overlaps the route to 10.0.0.0/8');
  const { client: node, next } = client({ member: { join: wish } }, async () => {
    throw refusal;
  });
  const { failure, retryIn } = await next('disconnected');
  assert.deepEqual([failure.kind, failure.code, failure.message], ['unwanted', 'usage', refusal.message]);
  assert.equal(failure.cause, refusal);
  assert.equal(retryIn, undefined);
  assert.equal(node.state.kind, 'ended');
  assert.deepEqual(
    hub.asked.map(({ type }) => type),
    ['check-invitation'],
  );
});

test('a bad secret ends the join, and an unavailable database delays it', async () => {
  hub.answer = () => new Refused('expired');
  const refused = await client({ member: { join: wish } }).next('disconnected');
  assert.deepEqual([refused.failure.refusal, refused.retryIn], ['expired', undefined]);
  hub.answer = () => new Refused('unavailable');
  const waiting = await client({ member: { join: wish } }).next('disconnected');
  assert.equal(waiting.failure.refusal, 'unavailable');
  assert.ok(waiting.retryIn !== undefined);
});

test('a join whose answer was lost is repeated', async () => {
  let joins = 0;
  hub.answer = ({ type }, node) => {
    if (type === 'check-invitation') return { network: NETWORK };
    if (type === 'attach') return attachedAnswer(4);
    if (++joins === 1) {
      node.breakOff();
      return undefined;
    }
    return { network: NETWORK, you: member(4) };
  };
  const { next } = client({ member: { join: wish } });
  await next('joined');
  assert.equal(joins, 2);
});

test('a removed node hears of it, and does not reconnect', async () => {
  const connected = client();
  await connected.next('connected');
  onlyNode().send({ type: 'removed', network: NETWORK.id });
  const { failure, retryIn } = await connected.next('disconnected');
  assert.deepEqual([failure.kind, retryIn], ['removed', undefined]);
  assert.equal(connected.client.state.kind, 'ended');
  hub.answer = (_, node) => void node.send({ type: 'removed', network: NETWORK.id });
  const later = client();
  assert.equal((await later.next('disconnected')).failure.kind, 'removed');
  assert.equal(later.client.state.kind, 'ended');
});

test('only the hub of its own network ends a membership: the client retries, whatever another one says', async () => {
  const another = { ...attachedAnswer(1), network: { ...NETWORK, id: 'n2', name: 'work' } };
  const says = async (answer: typeof hub.answer) => {
    hub.answer = answer;
    const { client: node, events, next } = client();
    const { failure, retryIn } = await next('disconnected');
    assert.ok(retryIn !== undefined && !events.some(({ kind }) => kind === 'connected'));
    node.close();
    return [failure.kind, failure.message] as const;
  };
  const removes = (_: unknown, node: SmallHubNode) => void node.send({ type: 'removed', network: 'n2' });
  for (const answer of [() => new Refused('other-network'), () => another, removes]) {
    const [kind, message] = await says(answer);
    assert.equal(kind, 'other-network');
    assert.match(message, /this hub serves another network/);
  }
  assert.equal((await says(() => new Refused('not-a-member')))[0], 'refused');
});

test('each request gets its own answer, and a refusal has its code', async () => {
  hub.answer = (question) => {
    if (question.type === 'attach') return attachedAnswer(1);
    if (question.type === 'who') return { online: [1, 2] };
    if (question.type === 'admin') return new Refused('not-an-admin');
    if (question.type === 'share') return { nonsense: true };
    return undefined;
  };
  const { client: node, next } = client();
  await next('connected');
  const left = node.request({ type: 'leave' });
  assert.deepEqual(await node.request({ type: 'who' }), { online: [1, 2] });
  await assert.rejects(node.request({ type: 'admin', request: { op: 'nodes' } }), {
    refusal: 'not-an-admin',
    code: 'refused',
  });
  await Promise.all([
    assert.rejects(node.request({ type: 'share', shares: [] }), { kind: 'protocol' }),
    assert.rejects(left, { kind: 'protocol' }, 'the connection ended, so this has no answer either'),
  ]);
});

test('frames go both ways', async () => {
  const { client: node, next } = client();
  assert.equal(node.sendFrame(2, Uint8Array.of(1)), false, 'there is no connection yet');
  await next('connected');
  assert.equal(node.sendFrame(2, Uint8Array.of(1, 2, 3)), true);
  await until('the frame', () => hub.frames.length === 1);
  assert.deepEqual([hub.frames[0]!.peer, [...hub.frames[0]!.datagram]], [2, [1, 2, 3]]);
  onlyNode().sendFrame(7, Uint8Array.of(4, 5));
  const { peer, datagram } = await next('frame');
  assert.deepEqual([peer, [...datagram]], [7, [4, 5]]);
});

test('frames are dropped, not queued, when the hub does not read', async () => {
  const { client: node, next } = client();
  await next('connected');
  onlyNode().fallSilent();
  const datagram = new Uint8Array(1400);
  let sent = 0;
  for (let turn = 0; turn < 200; turn++) {
    for (let i = 0; i < 200; i++) if (node.sendFrame(2, datagram)) sent++;
    await new Promise(setImmediate);
  }
  assert.ok(sent > 100, `${sent}`);
  assert.equal(node.sendFrame(2, datagram), false);
});

test('the first address that leads to the hub is used, whatever listens at the others', async () => {
  const deaf = createServer().listen(0, '127.0.0.1');
  const free = createServer().listen(0, '127.0.0.1');
  await until('two ports', () => deaf.listening && free.listening);
  const portOf = (server: typeof deaf) => (server.address() as { port: number }).port;
  const closed = portOf(free);
  free.close();
  const other = new SmallHub(crypto, crypto.generate());
  const otherPort = await other.listen();
  try {
    const addresses = [
      at('127.0.0.1', closed),
      at('127.0.0.1', otherPort),
      at('127.0.0.1', portOf(deaf)),
      at('localhost'),
    ];
    const { next } = client({ addresses });
    const { remote, where } = await next('connected');
    assert.equal(remote.port, port);
    assert.match(where, /^localhost:\d+ \(127\.0\.0\.1\)$/);
    // It returns to the same address at once. A process that is delayed by a quarter of a second also tries others.
    let straight = 0;
    for (let i = 0; i < 6 && straight < 3; i++) {
      const before = other.connections;
      onlyNode().breakOff();
      await next('connected');
      if (other.connections === before) straight++;
    }
    assert.equal(straight, 3);
  } finally {
    deaf.close();
    await other.close();
  }
});

const failures: readonly [string, () => Partial<HubClientOptions>, HubFailure['kind'], RegExp][] = [
  [
    'a hub with another key than the token',
    () => ({ hubKey: crypto.generate().publicKey.bytes }),
    'other-hub',
    /^127\.0\.0\.1:\d+: this hub does not have the key in the token/,
  ],
  [
    'a port where nobody listens',
    () => ({ addresses: [at('127.0.0.1', 1)] }),
    'unreachable',
    /^127\.0\.0\.1:1: connection refused/,
  ],
  [
    'a name that does not exist',
    () => ({ addresses: [at('hub.invalid')] }),
    'unreachable',
    /^hub\.invalid: (no such host name|the name server does not answer)/,
  ],
  [
    'TLS where there is none',
    () => ({ addresses: [{ ...at('127.0.0.1'), tls: true }] }),
    'unreachable',
    /https:\/\/127\.0\.0\.1:\d+: the server at this address does not speak TLS/,
  ],
];
for (const [name, options, kind, words] of failures) {
  test(`in words: ${name}`, async () => {
    const { failure, retryIn } = await client(options()).next('disconnected');
    assert.equal(failure.kind, kind);
    assert.match(failure.message, words);
    assert.ok(retryIn !== undefined, 'a member tries for ever');
  });
}

test('in words: a hub with another protocol version, and which side is older', async () => {
  const newer = { refused: 'said the hub', protocol: [7], program: 'lametun 9' };
  hub.welcome = () => newer;
  const { failure, retryIn } = await client({ member: { join: wish } }).next('disconnected');
  assert.equal(failure.kind, 'version');
  assert.match(
    failure.message,
    /test 1 \(protocol 1\).*lametun 9 \(protocol 7\): update lametun on this machine/,
  );
  assert.equal(retryIn, undefined);
});

test('in words: a web server that is not a hub', async () => {
  await hub.close();
  const { createServer } = await import('node:http');
  const web = createServer((_, response) => void response.writeHead(502).end('no')).listen(port, '127.0.0.1');
  try {
    const { failure } = await client().next('disconnected');
    assert.match(failure.message, /a web server answered \(502\), not a lametun hub/);
  } finally {
    web.close();
    hub = new SmallHub(crypto, hubKey);
    await hub.listen();
  }
});

test('a hub that sends invalid messages is disconnected', async () => {
  const { next } = client();
  await next('connected');
  onlyNode().send({
    type: 'map',
    version: { epoch: 'e', revision: 1 },
    nodes: [{ ...mapNode(1), ipv4: 'x' }],
  });
  const { failure } = await next('disconnected');
  assert.equal(failure.kind, 'protocol');
  assert.match(failure.message, /nodes\.0\.ipv4 must be an IPv4 address/);
});

test('a closed client emits nothing more, and leaves nothing open', async () => {
  const { client: node, events, next } = client();
  await next('connected');
  events.length = 0;
  const question = node.request({ type: 'who' });
  node.close();
  await question.catch((failure: HubFailure) => assert.equal(failure.kind, 'closed'));
  await until('the end', () => hub.nodes.size === 0);
  assert.deepEqual(events, []);
});

test('events from before a machine takes over are handed over with the client', async () => {
  const driver = new HubDriver({
    ...{ crypto, privateKey: nodeKey, hubKey: hubKey.publicKey.bytes, addresses: [at('127.0.0.1')] },
    ...{ program: 'test 1', map, member: { network: NETWORK.id } },
  });
  clients.push(driver);
  driver.start();
  await until('the connection', () => driver.client.state.kind === 'connected');
  assert.deepEqual(
    driver.handOver().early.map(({ kind }) => kind),
    ['connected'],
  );
});
