/*
 * What a malicious or compromised hub can do to real nodes. How a node treats single messages is tested in
 * src/node/machine/members.test.ts, ranges.test.ts and join-checks.test.ts.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { HubMessage, MapNode } from '../../src/protocol/messages.js';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import type { Running } from '../kit/running.js';
import { until } from '../kit/wait.js';
import { join } from '../network/join.js';
import type { Order } from './evil-hub.js';

const EVIL_HUB = fileURLToPath(new URL('./evil-hub.js', import.meta.url));

class EvilHub {
  token = '';
  readonly members = new Map<string, MapNode>();
  /** How often each node has attached. */
  readonly attached = new Map<string, number>();
  readonly #child: ChildProcess;
  #revision = 100;

  private constructor(child: ChildProcess) {
    this.#child = child;
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const said = JSON.parse(line) as { token?: string; joined?: MapNode; attached?: string };
      if (said.token !== undefined) this.token = said.token;
      if (said.joined !== undefined) this.members.set(said.joined.name, said.joined);
      if (said.attached !== undefined)
        this.attached.set(said.attached, (this.attached.get(said.attached) ?? 0) + 1);
    });
  }

  static async start(t: TestContext, machine: Machine, address: string): Promise<EvilHub> {
    const child = machine.namespace.spawn(process.execPath, [EVIL_HUB, address], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    const hub = new EvilHub(child);
    await until('the hub', () => hub.token !== '');
    return hub;
  }

  order(order: Order): void {
    this.#child.stdin!.write(`${JSON.stringify(order)}\n`);
  }

  tell(to: string, message: HubMessage): void {
    this.order({ to, message });
  }

  node(name: string, changes: Partial<MapNode> = {}): MapNode {
    return { ...this.members.get(name)!, ...changes };
  }

  /** Sends a node a complete map. */
  map(to: string, nodes: readonly MapNode[], revision = ++this.#revision): void {
    this.tell(to, { type: 'map', version: { epoch: 'e', revision }, nodes });
  }

  /** Starts a node that joins, and sends it a map of these members and itself. */
  async joins(machine: Machine, ...others: readonly string[]): Promise<Running> {
    const running = join(machine, this.token);
    await running.says(/is up/);
    this.map(
      machine.name,
      [...others, machine.name].map((name) => this.node(name)),
    );
    return running;
  }
}

const warnings = async (machine: Machine): Promise<string> => (await machine.status()).warnings.join('\n');
const warned = (machine: Machine, pattern: RegExp): Promise<unknown> =>
  until(`a warning ${pattern}`, async () => pattern.test(await warnings(machine)));
const peers = async (machine: Machine): Promise<string[]> =>
  (await machine.status()).peers.map(({ name }) => name).sort();
const routeTo = (machine: Machine, address: string): string =>
  machine.run('ip', 'route', 'get', address).stdout;

interface Scene {
  readonly hub: EvilHub;
  readonly a: Machine;
  readonly b: Machine;
  readonly m: Machine;
  readonly nodeA: Running;
}

/** a is the gateway of a LAN, b an honest member, m the hub's accomplice. a and m reach each other only through the relay. */
async function scene(t: TestContext): Promise<Scene> {
  const lab = new NetworkLab(t);
  const { machine, public4 } = lab.site('hub');
  const hub = await EvilHub.start(t, machine, public4);
  const a = lab.site('a', { access: 'hard', gateway: true }).machine;
  const b = lab.site('b').machine;
  const m = lab.site('m', { access: 'hard', lan: 2 }).machine;
  const nodeA = await hub.joins(a);
  await hub.joins(b, 'a');
  await hub.joins(m, 'a', 'b');
  hub.map('a', [hub.node('a'), hub.node('b')]);
  await until('a to learn of b', async () => (await peers(a)).join() === 'b');
  await until('a reply', () => a.pings('b.home.lametun'));
  return { hub, a, b, m, nodeA };
}

test('a malicious hub: which attacks succeed, and which nodes refuse', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const { hub, a, b, m, nodeA } = await scene(t);
  const [self, honest, accomplice] = ['a', 'b', 'm'].map((name) => hub.node(name)) as [
    MapNode,
    MapNode,
    MapNode,
  ];
  const a4 = self.ipv4;

  await t.test('succeeds: to add a member, with the access of any member, and to remove it', async () => {
    assert.ok(
      !m.pings(a4, 1),
      'm is not in the map of a, so a drops its frames although the hub relays them',
    );
    hub.map('a', [self, honest, accomplice]);
    await until('m to reach a', () => m.pings(a4, 1));
    assert.deepEqual(await peers(a), ['b', 'm'], 'the new member is visible');
    hub.map('a', [self, honest]);
    await until('m to be gone', async () => (await peers(a)).join() === 'b');
    assert.ok(!m.pings(a4, 1));
  });

  await t.test('succeeds: to roll the map back to one with a removed member', async () => {
    hub.map('a', [self, honest, accomplice], 1);
    await until('a to reach m', () => a.pings(accomplice.ipv4, 1)); // m still uses its old session
    await m.reaches(a4);
    assert.equal(await warnings(a), '', 'no warning: the hub decides who is a member');
  });

  const all = (...changed: readonly MapNode[]): MapNode[] => {
    const ids = new Set(changed.map(({ id }) => id));
    return [...[self, honest, accomplice].filter(({ id }) => !ids.has(id)), ...changed];
  };
  const fresh: MapNode = {
    ...accomplice,
    id: 9,
    name: 'n',
    key: Buffer.alloc(32, 9).toString('base64'),
    ipv4: '10.77.0.9',
    ipv6: 'fd77::9',
  };
  const refused: readonly (readonly [what: string, node: MapNode, why: RegExp])[] = [
    ['another key for a member', { ...honest, key: fresh.key }, /b \(node 2\).*its key has changed/],
    ['a share of all of IPv4', { ...accomplice, shares: ['0.0.0.0/0'] }, /0\.0\.0\.0\/0 is too wide/],
    [
      'a share of this node’s LAN',
      { ...accomplice, shares: ['192.168.1.0/24'] },
      /192\.168\.1\.0\/24 collides with the route/,
    ],
    [
      'a share that contains this node’s name server',
      { ...accomplice, shares: ['192.0.2.0/24'] },
      /contains 192\.0\.2\.53, which must be reached outside the network/,
    ],
    [
      'a share that contains the hub',
      { ...accomplice, shares: ['198.51.100.0/29'] },
      /contains 198\.51\.100\.7, which must be reached outside the network/,
    ],
  ];
  for (const [what, node, why] of refused) {
    await t.test(`refused: ${what}`, async () => {
      const before = routeTo(a, '8.8.8.8');
      hub.map('a', all(node));
      await warned(a, why);
      assert.deepEqual(await peers(a), ['b', 'm']);
      await a.reaches(honest.ipv4); // b is still at its address
      await until('its name to resolve', () =>
        /fd77::2|10\.77\.0\.2/.test(a.run('getent', 'hosts', 'b.home.lametun').stdout),
      );
      assert.equal(routeTo(a, '8.8.8.8'), before);
      hub.map('a', all());
      await until('the warning to go', async () => (await warnings(a)) === '');
    });
  }

  await t.test('succeeds: to rename a member', async () => {
    hub.map('a', all({ ...honest, name: 'z' }));
    await until('b to be renamed z', async () => (await peers(a)).join() === 'm,z');
    assert.equal(await warnings(a), '');
    await until('a reply', () => a.pings('z.home.lametun'));
    assert.ok(!a.pings('b.home.lametun'), 'the old name no longer resolves');
    hub.map('a', all());
    await until('the name to be b again', async () => (await peers(a)).join() === 'b,m');
    assert.equal(await warnings(a), '');
  });

  await t.test('succeeds: to give a member’s name and address to another key, with a warning', async () => {
    const { name, ipv4, ipv6 } = honest;
    hub.map('a', [self, accomplice, { ...fresh, name, ipv4, ipv6 }]);
    await warned(a, /^b has had a new key since \d{4}-\d\d-\d\d/m);
    await nodeA.says(/warning: b has had a new key since/);
    const { peers: now } = await a.status();
    assert.ok(now.find((peer) => peer.name === 'b')!.keyChangedAt! > Date.now() - 60_000);
    assert.equal(now.find((peer) => peer.name === 'm')!.keyChangedAt, undefined);
    assert.match(a.lametun('status').stdout, /Warning: b has had a new key since/);
    assert.ok(!a.pings(honest.ipv4, 1), 'the new key does not answer');
    hub.map('a', [self, { ...honest, name: 'm' }, { ...accomplice, name: 'b' }]);
    await warned(a, /^m has had a new key since/m);
    const trusted = a.lametun('trust', 'm', '--json');
    assert.deepEqual(JSON.parse(trusted.stdout), { node: 'm', key: honest.key, changed: true });
    assert.doesNotMatch(await warnings(a), /^m has had a new key/m);
    assert.match(await warnings(a), /^b has had a new key/m, 'the warning about b stays');
    const names = JSON.parse(readFileSync(`${a.state}/names.json`, 'utf8')) as { name: string }[];
    assert.deepEqual(
      names.filter(({ name }) => name === 'm'),
      [{ name: 'm', key: honest.key }],
    );
    assert.match(a.lametun('trust', 'm').stdout, /^The key of m has not changed/);
    const nobody = a.lametun('trust', 'nobody');
    assert.equal(nobody.status, 2);
    assert.match(nobody.stderr, /no node nobody/);
    hub.map('a', all());
    await until('b to reply', () => a.pings(honest.ipv4, 1));
  });

  await t.test('refused: to make this node forward into a LAN that it does not share', async () => {
    await a.reaches('192.168.1.23'); // control: the host exists
    hub.map('m', [{ ...self, shares: ['192.168.1.0/24'] }, honest, accomplice]);
    const share = { network: '192.168.1.0/24', state: 'approved' } as const;
    const { id, name, ipv4, ipv6 } = self;
    hub.tell('a', {
      type: 'you',
      you: { id, name, ipv4, ipv6, admin: false, pending: false, shares: [share] },
    });
    await warned(
      a,
      /approved the share 192\.168\.1\.0\/24, which this node does not offer: it is not forwarded/,
    );
    await until('m to route it', () => /lametun0/.test(routeTo(m, '192.168.1.23')));
    assert.ok(!m.pings('192.168.1.23', 2));
    await m.reaches(a4); // control
  });

  await t.test('refused: to change this node’s ranges, address and id', async () => {
    const times = hub.attached.get('a')!;
    hub.order({ network: { ipv4: '0.0.0.0/0', ipv6: '::/0' }, when: 'attach' });
    hub.order({ you: { ipv4: '10.77.0.2', ipv6: 'fd77::2', name: 'b' } });
    hub.order({ breakOff: 'a' });
    await until('a to reconnect', () => hub.attached.get('a')! > times);
    await warned(a, /changed the network's ranges to 0\.0\.0\.0\/0 and ::\/0: ignored/);
    const { self: now } = await a.status();
    assert.deepEqual([now.ipv4, now.name], [a4, 'a']);
    assert.match(a.run('ip', 'address', 'show', 'lametun0').stdout, new RegExp(`inet ${a4}/16`));
    assert.doesNotMatch(a.run('ip', 'address', 'show', 'lametun0').stdout, /10\.77\.0\.2\/|fd77::2\//);
    hub.order({ network: {}, when: 'attach' });
    hub.order({ you: {} });
    hub.map('a', all());
    await until('m to reach a', () => m.pings(a4, 1));
  });

  await t.test('refused: frames that are changed, repeated, reordered or from another member', async () => {
    hub.order({ frames: 'repeat-and-reorder' });
    const { stdout } = m.run('ping', '-c', '20', '-i', '0.1', '-W', '15', a4);
    assert.doesNotMatch(stdout, /DUP!/);
    assert.match(stdout, /(1[5-9]|20) received/, stdout);
    hub.order({ frames: 'from-another' });
    m.pings(a4, 1);
    await a.reaches(honest.ipv4);
    assert.deepEqual(await peers(a), ['b', 'm']);
    hub.order({ frames: 'change' });
    assert.ok(!m.pings(a4, 1));
    hub.order({ frames: 'drop' });
    assert.ok(!m.pings(a4, 1), 'the hub can cut off relayed members');
    await a.reaches(honest.ipv4); // but not direct ones
    hub.order({ frames: 'forward' });
    await until('m to reach a', () => m.pings(a4, 1));
  });

  await t.test(
    'succeeds: to tell a node that it was removed; the node ends and deletes its key',
    async () => {
      hub.tell('a', { type: 'removed', network: 'n1' });
      assert.equal(await nodeA.ended, 1);
      assert.match(nodeA.stderr, /was removed from the network home/);
      assert.ok(!existsSync(`${a.state}/node.key`));
      assert.ok((await b.status()).self.ipv4 === honest.ipv4, 'other nodes are unaffected');
    },
  );
});

test('a machine does not join a network that would capture its other traffic', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft')) return;
  const lab = new NetworkLab(t);
  const { machine, public4 } = lab.site('hub');
  const hub = await EvilHub.start(t, machine, public4);
  const { machine: a } = lab.site('a');
  const cases: readonly (readonly [Order[], RegExp])[] = [
    [[{ when: 'check-invitation', network: { ipv4: '0.0.0.0/0' } }], /0\.0\.0\.0\/0 is not a private range/],
    [
      [{ when: 'join', network: { ipv4: '8.8.0.0/16' } }],
      /the joined network is not the network of the invitation/,
    ],
    [[{ you: { ipv4: '8.8.8.8' } }], /assigned addresses outside the network: 8\.8\.8\.8/],
  ];
  for (const [orders, why] of cases) {
    for (const order of orders) hub.order(order);
    const running = join(a, hub.token);
    assert.equal(await running.ended, 1, running.stdout);
    assert.match(running.stderr, why);
    assert.notEqual(a.run('ip', 'link', 'show', 'lametun0').status, 0, 'nothing is left');
    assert.ok(!existsSync(`${a.state}/node.json`));
    hub.order({ when: 'check-invitation', network: {} });
    hub.order({ when: 'join', network: {} });
    hub.order({ you: {} });
  }
  const running = join(a, hub.token);
  await running.says(/is up/); // control
  assert.equal((await a.status()).network.ipv4, '10.77.0.0/16');
});
