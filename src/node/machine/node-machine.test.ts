import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCrypto } from '../../../tests/kit/fake-crypto.js';
import { SeededRandom } from '../../../tests/kit/random.js';
import { attachedAnswer, mapNode, member, NETWORK } from '../../../tests/kit/small-hub.js';
import { parseCidr } from '../../ip/cidr.js';
import { ChannelResponder } from '../../protocol/channel.js';
import { NetworkMap } from '../../protocol/map.js';
import type { HubMessage, MapNode, NodeMessage } from '../../protocol/messages.js';
import { parseNodeMessage } from '../../protocol/parse.js';
import { welcome } from '../../protocol/versions.js';
import { WallClock } from '../../wall-clock.js';
import type { NodeCommand } from './commands.js';
import { HubClient } from './hub/hub-client.js';
import type { HubEvent } from './hub/hub-events.js';
import { NodeMachine } from './node-machine.js';
import type { Routing, TableRoute } from './ranges.js';
import type { StoredNode, StoredState } from './stored.js';

const crypto = new FakeCrypto(new SeededRandom(7));
const HUB = { address: Uint8Array.of(203, 0, 113, 1), port: 443 };
const LOCAL = { address: Uint8Array.of(10, 1, 0, 2), port: 50_000 };
const address = { host: '203.0.113.1', port: 443, tls: false };
const KNOWN: StoredNode = {
  network: NETWORK,
  you: member(1),
  hub: { key: '', addresses: [address], proven: [] },
  port: 41_641,
  interface: 'lametun0',
  shares: [],
};
/** The wall clock at time 0 of the machine's clock. */
const EPOCH = 1_700_000_000_000;
const NO_RULES: Routing = { routes: [], rules: [] };

type Kind = NodeCommand['kind'];
type Of<K extends Kind> = Extract<NodeCommand, { kind: K }>;

const revision = (number: number) => ({ epoch: 'e', revision: number });

/** A node's machine, a hub that a test controls, and a clock that the test advances. */
class Scene {
  now = 1_000;
  readonly map = new NetworkMap();
  readonly done: NodeCommand[] = [];
  readonly asked: NodeMessage[] = [];
  readonly client: HubClient;
  readonly machine: NodeMachine;
  isHubThere = true;
  /** The answer to a request of the node; undefined for none. */
  answer = (question: NodeMessage): object | undefined =>
    question.type === 'attach' ? attachedAnswer(1) : question.type === 'share' ? { shares: [] } : {};
  readonly #hubKey = crypto.generate();
  #hub: ChannelResponder | undefined;
  #connection = 0;

  constructor(stored: Partial<StoredState> = {}, members: readonly MapNode[] = []) {
    const nodes = [mapNode(1), ...members];
    if (nodes.length > 1) this.map.applyMap({ type: 'map', version: revision(1), nodes });
    const privateKey = crypto.generate();
    const hubKey = this.#hubKey.publicKey.bytes;
    const map = this.map;
    const options = { crypto, privateKey, hubKey, map, program: 'node 1' };
    this.client = new HubClient({ ...options, addresses: [address], member: { network: NETWORK.id } });
    const clock = new WallClock(
      () => EPOCH + this.now,
      () => this.now,
    );
    const parts = { crypto, privateKey, client: this.client, map, clock };
    this.machine = new NodeMachine({ ...parts, stored: { node: KNOWN, ...stored } }, this.now);
  }

  /** Starts, and connects to the hub if that is up. */
  start(routing = NO_RULES): this {
    this.client.start(this.now);
    this.machine.start(this.now);
    this.machine.handleRouting(routing, [], this.now);
    this.settle();
    return this;
  }

  settle(): void {
    for (let command = this.machine.poll(); command; command = this.machine.poll()) this.perform(command);
  }

  /** Lets time pass, and checks that each timeout moves the next one. */
  runTo(time: number): void {
    for (let next = this.machine.nextTimeout(); next <= time; next = this.machine.nextTimeout()) {
      this.now = Math.max(this.now, next);
      this.machine.handleTimeout(this.now);
      this.settle();
      assert.ok(this.machine.nextTimeout() > this.now, 'a timeout makes progress');
    }
    this.now = time;
  }

  say(message: HubMessage): void {
    for (const bytes of this.#hub!.seal(message)) {
      this.client.handleMessage(this.#connection, bytes, this.now);
      this.settle();
    }
  }

  sayFrame(peer: number, datagram: Uint8Array): void {
    this.client.handleMessage(this.#connection, this.#hub!.sealFrame(peer, datagram), this.now);
    this.settle();
  }

  breakOff(): void {
    this.client.handleClosed(this.#connection, 1006, this.now);
    this.settle();
  }

  /** The last command of a kind. */
  last<K extends Kind>(kind: K): Of<K> | undefined {
    return this.all(kind).at(-1);
  }

  all<K extends Kind>(kind: K): Of<K>[] {
    return this.done.filter((command): command is Of<K> => command.kind === kind);
  }

  /** The kinds of the commands since the last call, in order. */
  kinds(...wanted: Kind[]): string[] {
    const texts = this.done.map((each) => (each.kind === 'store' ? `store ${each.file}` : each.kind));
    this.done.length = 0;
    return texts.filter((text) => wanted.some((kind) => text.startsWith(kind)));
  }

  perform(command: NodeCommand): void {
    this.done.push(command);
    if (command.kind === 'dial') this.#dial(command.connection);
    else if (command.kind === 'send') {
      for (const event of this.#hub!.handle(command.bytes.slice())) {
        if (event.kind === 'send') this.client.handleMessage(this.#connection, event.bytes, this.now);
        else if (event.kind === 'message') this.#answer(parseNodeMessage(event.value));
      }
    }
  }

  #dial(connection: number): void {
    if (!this.isHubThere) return;
    this.#connection = connection;
    this.#hub = new ChannelResponder(crypto, this.#hubKey, (_, hello) => welcome(hello, 'hub 1'));
    this.client.handleConnected(connection, HUB, LOCAL, this.now);
    this.client.handleOpened(connection, this.now);
  }

  #answer(question: NodeMessage): void {
    this.asked.push(question);
    const value = this.answer(question);
    if (value !== undefined)
      for (const bytes of this.#hub!.seal({ type: 'answer', re: question.id, value }))
        this.client.handleMessage(this.#connection, bytes, this.now);
  }
}

const route = (text: string): TableRoute => ({
  ...{ destination: parseCidr(text)!, name: `the route ${text}`, local: false, table: 254 },
  ...{ kind: 'unicast', gateway: undefined },
});

test('a node without a hub and members resolves its own name', () => {
  const scene = new Scene();
  scene.isHubThere = false;
  scene.start().runTo(1_100);
  assert.deepEqual(
    scene.last('names')?.nodes.map(({ name }) => name),
    ['node1'],
  );
});

test('after a restart without a hub, a member that shares the LAN of both nodes is reached in that LAN', () => {
  const home = { ...mapNode(2), shares: ['192.168.1.0/24'] };
  const scene = new Scene({ endpoints: [{ node: 2, at: '192.168.1.7:41641' }] }, [home]);
  scene.isHubThere = false;
  scene.start({ ...NO_RULES, routes: [route('192.168.1.0/24')] });
  assert.deepEqual(scene.last('shares')?.owners ?? new Map(), new Map());
  scene.machine.handleTraffic([[2, { received: 0, sent: 100 }]], scene.now);
  scene.settle();
  scene.runTo(scene.now + 1_000);
  const to = { address: Uint8Array.of(192, 168, 1, 7), port: 41_641 };
  assert.deepEqual(scene.last('endpoint'), { kind: 'endpoint', peer: 2, endpoint: to });
  assert.deepEqual(scene.last('datagram')?.to, to);
});

const surroundings = {
  ...{ traffic: () => ({ received: 0, sent: 0, lastHandshake: 0 }), warnings: [] },
  names: { how: 'none', why: undefined, through: undefined } as const,
};
/** A scene whose hub has sent a map with these members. */
function connected(...others: number[]): Scene {
  const scene = new Scene().start();
  scene.say({ type: 'map', version: revision(1), nodes: [1, ...others].map(mapNode) });
  return scene;
}

test('a member has a peer, a path and a name before the command `introduced`', () => {
  const scene = new Scene().start();
  scene.done.length = 0;
  scene.say({ type: 'map', version: revision(1), nodes: [mapNode(1), mapNode(2)] });
  const kinds = scene.kinds('peer', 'endpoint', 'names', 'introduced');
  assert.deepEqual(kinds, ['peer', 'names', 'introduced', 'endpoint']);
  scene.say({ type: 'delta', from: 1, version: revision(2), nodes: [], removed: [2] });
  assert.deepEqual(scene.kinds('peer', 'remove-peer', 'introduced'), ['remove-peer']);
});

test('events from before the start of the machine count', () => {
  const scene = new Scene();
  scene.client.start(scene.now);
  const early: HubEvent[] = [];
  for (let output = scene.client.poll(); output; output = scene.client.poll()) {
    if (output.kind === 'connected') early.push(output);
    else if (output.kind === 'dial' || output.kind === 'send') scene.perform(output);
  }
  assert.equal(early.length, 1);
  scene.machine.start(scene.now, early);
  scene.settle();
  const { hub, relay } = scene.machine.status(surroundings, scene.now, EPOCH);
  assert.deepEqual([hub.state, relay.via], ['connected', 'websocket']);
});

test('an event from the hub gets the time of its arrival, however long the machine was idle', () => {
  const scene = connected();
  scene.now += 200_000;
  scene.breakOff();
  assert.equal(scene.machine.status(surroundings, scene.now, EPOCH).hub.since, EPOCH);
});

test('shares are stored before they are acknowledged', () => {
  const scene = connected();
  scene.done.length = 0;
  const share = { network: '192.168.1.0/24', state: 'approved' as const };
  scene.answer = () => ({ shares: [share] });
  const token = scene.machine.share([share.network], scene.now);
  scene.settle();
  assert.deepEqual(scene.last('answer'), { kind: 'answer', token, value: [share] });
  assert.deepEqual(scene.last('store')?.file, 'node');
  assert.deepEqual(scene.machine.hostPlan().forward, [parseCidr(share.network)]);
  assert.deepEqual(scene.kinds('store', 'host', 'answer'), ['store node', 'host', 'answer']);
});

test('without IPv6 the interface has no IPv6 address, and the hub is told', () => {
  const scene = connected();
  assert.equal(scene.machine.hostPlan().addresses.length, 2);
  scene.machine.handleIpv6(false, scene.now);
  scene.settle();
  assert.deepEqual(scene.machine.hostPlan().addresses, [parseCidr('10.7.0.1/16')]);
  assert.ok(scene.asked.some((question) => question.type === 'host-info' && !question.ipv6));
});

test('an approved node gets its addresses, and credentials that the relay accepts', () => {
  const { ipv4: _, ipv6: __, ...waiting } = { ...member(1), pending: true };
  const scene = new Scene({ node: { ...KNOWN, you: waiting } });
  scene.answer = () => ({ ...attachedAnswer(1), you: waiting });
  scene.start();
  assert.deepEqual(scene.kinds('introduced', 'approved', 'relay'), ['introduced']);
  assert.deepEqual(scene.machine.hostPlan().addresses, []);
  scene.answer = () => attachedAnswer(1);
  scene.say({ type: 'you', you: member(1) });
  assert.deepEqual(scene.kinds('store', 'approved', 'host', 'relay'), [
    'store node',
    'host',
    'approved',
    'relay',
  ]);
});

test('a removal is reported, unless this node is leaving; after a failed attempt to leave it stays', () => {
  const removed = { type: 'removed', network: NETWORK.id } as const;
  const gone = connected();
  gone.say(removed);
  assert.ok(gone.last('removed'));

  const leaving = connected();
  leaving.answer = () => undefined;
  const token = leaving.machine.leave(leaving.now);
  leaving.settle();
  leaving.say(removed);
  assert.equal(leaving.last('answer')?.token, token);
  assert.equal(leaving.last('removed'), undefined);

  const staying = connected();
  staying.answer = () => undefined;
  staying.machine.leave(staying.now);
  staying.settle();
  staying.runTo(staying.now + 40_000); // there was no answer
  assert.ok(staying.last('answer')?.failure);
  staying.runTo(staying.now + 60_000);
  staying.say(removed);
  assert.ok(staying.last('removed'));
});

test('a node without its hub shows no member as offline', () => {
  const scene = connected(2);
  const kind = (): string => scene.machine.path(2, scene.now, EPOCH + scene.now).kind;
  scene.say({ type: 'presence', online: [1], offline: [{ id: 2, ago: 1_000 }] });
  assert.equal(kind(), 'offline');
  scene.breakOff();
  assert.notEqual(kind(), 'offline');
});

test('the relay is abandoned once the hub has been away for 3 s, and not before', () => {
  const scene = connected();
  scene.isHubThere = false;
  scene.done.length = 0;
  const leftAt = scene.now;
  scene.breakOff();
  scene.runTo(leftAt + 2_900);
  assert.deepEqual(scene.kinds('relay'), []);
  scene.runTo(leftAt + 3_100);
  assert.equal(scene.last('relay')?.route, undefined);
  assert.deepEqual(scene.kinds('relay'), ['relay']);
});

test('after a move, the connection is closed at once if its address is gone, and pinged otherwise', () => {
  for (const [own, expected] of [
    [LOCAL.address, ['ping']],
    [Uint8Array.of(10, 2, 0, 2), ['abort']],
  ] as const) {
    const scene = connected();
    scene.done.length = 0;
    scene.machine.handleAddresses([{ device: 'eth0', kind: undefined, address: own }], true, scene.now);
    scene.settle();
    assert.deepEqual(scene.kinds('ping', 'abort'), expected);
  }
});

test('a node refused as a twin waits longer than after another failure', () => {
  const scene = new Scene();
  scene.answer = () => undefined;
  scene.start();
  const [attach] = scene.asked;
  scene.say({ type: 'refused', re: attach!.id, code: 'twin', message: 'another machine has this key' });
  assert.ok(scene.client.nextTimeout() >= scene.now + 1_500);
});

test('a frame is passed on in the memory of its message', () => {
  const scene = connected(2);
  scene.done.length = 0;
  scene.sayFrame(2, Uint8Array.of(4, 0, 0, 0, 7));
  assert.deepEqual([...scene.last('frame')!.datagram], [4, 0, 0, 0, 7]);
});

test('at the end, all requests are answered and the connection is closed with a handshake', () => {
  const scene = connected(2);
  scene.answer = () => undefined;
  const tokens = [scene.machine.ping(2, scene.now), scene.machine.share([], scene.now)];
  scene.settle();
  scene.machine.close();
  scene.settle();
  assert.deepEqual(new Set(scene.all('answer').map(({ token }) => token)), new Set(tokens));
  assert.equal(scene.last('close')?.code, 1000);
});
