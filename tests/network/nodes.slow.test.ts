import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect, Namespace } from '../../src/linux/process/namespace.js';
import type {
  ControlAnswers,
  ControlCommand,
  ControlRequest,
  PeerStatus,
} from '../../src/node/control/control.js';
import { askControl } from '../../src/node/control/control-socket.js';
import type { AdminRequest } from '../../src/protocol/messages.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import type { Role } from './actor.js';
import { CUT_OFF } from './join.js';

const ACTOR = fileURLToPath(new URL('./actor.js', import.meta.url));
const PORT = 443;

/** A process with a hub or a node. */
class Actor {
  readonly said: Record<string, unknown>[] = [];
  stderr = '';
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;

  constructor(host: Namespace, role: Role) {
    this.#child = host.spawn(process.execPath, [ACTOR, JSON.stringify(role)], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let text = '';
    this.#child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (text + chunk).split('\n');
      text = lines.pop()!;
      for (const line of lines) this.said.push(JSON.parse(line));
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
      this.stderr += chunk;
    });
    this.ended = new Promise((resolve) => this.#child.once('close', resolve));
  }

  /** Waits until it has said something with this in it. */
  async says(key: string): Promise<Record<string, unknown>> {
    return until(`"${key}"`, () => {
      const failed = this.said.find((line) => 'failed' in line);
      if (failed && key !== 'failed') throw new Error(JSON.stringify(failed) + this.stderr);
      return this.said.find((line) => key in line);
    }).catch((error: Error) => {
      throw new Error(`${error.message}; it said ${JSON.stringify(this.said)} ${this.stderr}`);
    });
  }

  /** What a hub is to do, as root on its machine would ask for it. */
  order(...requests: readonly AdminRequest[]): void {
    for (const request of requests) this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Ends it orderly. */
  async stop(): Promise<void> {
    this.#child.stdin!.end();
    await this.ended;
  }
}

/** A hub between two machines, which see each other only through it if it forwards. */
class World {
  readonly hub: Namespace;
  readonly a: Namespace;
  readonly b: Namespace;
  readonly folder = mkdtempSync(join(tmpdir(), 'lametun-'));
  readonly actors: Actor[] = [];

  constructor(t: TestContext) {
    const prefix = `nd${process.pid.toString(36)}${worlds++}`;
    const [hub, a, b] = Namespace.createAll([`${prefix}h`, `${prefix}a`, `${prefix}b`]);
    [this.hub, this.a, this.b] = [hub!, a!, b!];
    for (const [i, end] of [this.a, this.b].entries()) {
      connect(
        { namespace: this.hub, device: `to${i}`, addresses: [`198.51.${100 + i}.1/24`] },
        {
          namespace: end,
          device: 'eth0',
          addresses: [`198.51.${100 + i}.2/24`],
          routes: [{ to: '0.0.0.0/0', via: `198.51.${100 + i}.1` }],
        },
      );
    }
    t.after(async () => {
      for (const actor of this.actors) actor.kill();
      await Promise.all(this.actors.map(({ ended }) => ended));
      for (const namespace of [this.hub, this.a, this.b]) namespace.remove();
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** Whether the hub's machine lets the two reach each other. */
  set forwards(yes: boolean) {
    this.hub.sysctl({ 'net.ipv4.ip_forward': yes ? 1 : 0 });
  }

  state(name: string): string {
    return join(this.folder, name);
  }

  start(host: Namespace, role: Role): Actor {
    const actor = new Actor(host, role);
    this.actors.push(actor);
    return actor;
  }

  async startHub(
    options: { readonly ask?: boolean; readonly range?: string } = {},
  ): Promise<{ hub: Actor; token: string }> {
    const role = {
      role: 'hub',
      state: this.state('hub'),
      port: PORT,
      public: '198.51.100.1',
      ...options,
    } as const;
    const hub = this.start(this.hub, role);
    const { token } = await hub.says('up');
    return { hub, token: token as string };
  }

  async ask<C extends ControlCommand>(
    name: string,
    request: Extract<ControlRequest, { command: C }>,
  ): Promise<ControlAnswers[C]> {
    let last: ControlAnswers[C] | undefined;
    await askControl<C>(this.state(name), request, (value) => {
      last = value;
    });
    return last!;
  }

  async relayVia(name: string, via: string): Promise<boolean> {
    return (await this.ask<'status'>(name, { command: 'status' })).relay.via === via;
  }

  async peer(name: string, peer: string): Promise<PeerStatus | undefined> {
    const { peers } = await this.ask<'status'>(name, { command: 'status' });
    return peers.find((each) => each.name === peer);
  }
}
let worlds = 0;

const ping = (host: Namespace, address: string, ...options: string[]): string =>
  spawnSync('ip', ['netns', 'exec', host.name, 'ping', ...options, address], { encoding: 'utf8' }).stdout;

const pings = (host: Namespace, address: string, ...options: string[]): boolean =>
  / 1 received/.test(ping(host, address, '-c1', '-w2', ...options));

/** Waits until there is an answer: for where there is one at once, were the machine not busy with other things. */
const reaches = (host: Namespace, address: string, ...options: string[]): Promise<unknown> =>
  until(`an answer of ${address}`, () => pings(host, address, ...options), 15_000);

async function two(
  t: TestContext,
  forwards: boolean,
): Promise<
  World & { token: string; hubActor: Actor; ipv4: string; ipv6: string; nodeA: Actor; nodeB: Actor }
> {
  const world = new World(t);
  world.forwards = forwards;
  const { hub, token } = await world.startHub();
  const nodeA = world.start(world.a, {
    role: 'node',
    state: world.state('a'),
    join: { token, name: 'a', device: 'lt0' },
  });
  await nodeA.says('up');
  const started = performance.now();
  const nodeB = world.start(world.b, {
    role: 'node',
    state: world.state('b'),
    join: { token, name: 'b', device: 'lt0' },
  });
  const { ipv4, ipv6 } = (await until('b to know a', () => world.peer('b', 'a').catch(() => undefined)))!;
  await until('an answer', () => pings(world.b, ipv4));
  t.diagnostic(`first answer after ${Math.round(performance.now() - started)} ms`);
  return Object.assign(world, { token, hubActor: hub, ipv4, ipv6, nodeA, nodeB });
}

test('two nodes that cannot reach each other speak through the hub', async (t) => {
  if (!needs(t, 'root', 'netns', 'tun', 'ping')) return;
  const world = await two(t, false);
  await reaches(world.b, world.ipv6, '-6');
  await reaches(world.b, world.ipv4, '-M', 'do', '-s', String(1280 - 28)); // packets of full size
  const { path } = (await world.peer('b', 'a'))!;
  assert.equal(path.kind, 'relayed');
  await until('an answer in less than 500 ms', async () => {
    const { rttMs } = await world.ask<'ping'>('b', { command: 'ping', node: 'a', count: 1 });
    return rttMs !== undefined && rttMs < 500;
  });
  await until('UDP', () => world.relayVia('b', 'udp'));
  await reaches(world.b, world.ipv4);

  // UDP stops passing, on one side only, and comes back.
  const rule = 'add rule inet test out oifname eth0 meta l4proto udp drop';
  const chain = 'add chain inet test out { type filter hook output priority 0; }';
  world.b.run('nft', ['-f', '-'], { input: `add table inet test\n${chain}\n${rule}\n` });
  await until(
    'the WebSocket',
    async () => (await world.relayVia('b', 'websocket')) && pings(world.b, world.ipv4),
  );
  assert.match(
    (await world.ask<'status'>('b', { command: 'status' })).relay.why,
    /stopped passing|no answer by UDP/,
  );
  await until('a to be at UDP, as before', () => world.relayVia('a', 'udp'));
  world.b.run('nft', ['delete table inet test']);
  await until('UDP again', () => world.relayVia('b', 'udp'));
  await reaches(world.b, world.ipv4);
});

test('two nodes that can reach each other do, and say so; and fall back to the hub when they cannot any more', async (t) => {
  if (!needs(t, 'root', 'netns', 'tun', 'ping')) return;
  const world = await two(t, true);
  const direct = await until('a direct path', async () => {
    pings(world.b, world.ipv4);
    const peer = await world.peer('b', 'a');
    return peer?.path.kind === 'direct' ? peer : undefined;
  });
  assert.match(direct.path.endpoint!, /^198\.51\.100\.2:/);
  assert.ok(direct.lastHandshake > 0 && direct.sent > 0 && direct.received > 0);
  await reaches(world.b, world.ipv4);
  await until('ping to say so', async () => {
    const { path } = await world.ask<'ping'>('b', { command: 'ping', node: 'a', count: 1 });
    return path.kind === 'direct';
  });

  world.forwards = false;
  await until('the relay', async () => {
    pings(world.b, world.ipv4);
    return (await world.peer('b', 'a'))?.path.kind === 'relayed' && pings(world.b, world.ipv4);
  });
  assert.match((await world.peer('b', 'a'))!.path.why, /stopped answering/);
});

test('while the hub is away a direct path stays, and a restarted node comes up from its map', async (t) => {
  if (!needs(t, 'root', 'netns', 'tun', 'ping')) return;
  const world = await two(t, true);
  const isDirect = async () => {
    pings(world.b, world.ipv4);
    return (await world.peer('b', 'a'))?.path.kind === 'direct';
  };
  await until('a direct path', isDirect);
  const file = join(world.state('b'), 'endpoints.json');
  const written = (): object => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {});
  await until('it to be written down', () => Object.keys(written()).length > 0);
  world.hubActor.kill();
  await world.hubActor.ended;
  await until(
    'it to be noticed',
    async () => (await world.ask<'status'>('b', { command: 'status' })).hub.state === 'away',
  );
  // One by one, since ping waits for the last of several no longer than for the others.
  for (let i = 0; i < 20; i++) {
    assert.match(ping(world.b, world.ipv4, '-c1', '-W15'), / 1 received/, 'nothing is lost');
    await sleep(200);
  }

  world.nodeB.kill();
  await world.nodeB.ended;
  const again = world.start(world.b, { role: 'node', state: world.state('b') });
  const { ms } = await again.says('up');
  t.diagnostic(`up again in ${ms} ms`);
  await until('an answer without the hub', () => pings(world.b, world.ipv4));
  await until('a direct path', isDirect);
  const { hub } = await world.ask<'status'>('b', { command: 'status' });
  assert.notEqual(hub.state, 'connected');

  await world.startHub();
  await until(
    'the hub to be found',
    async () => (await world.ask<'status'>('b', { command: 'status' })).hub.state === 'connected',
  );
});

test('a removed node is cut off by the others at once, and ends; one that leaves, too', async (t) => {
  if (!needs(t, 'root', 'netns', 'tun', 'ping')) return;
  const world = await two(t, false);
  await world.ask<'admin'>('a', { command: 'admin', request: { op: 'remove', node: 'b' } });
  const removedAt = performance.now();
  await until('a to forget b', async () => (await world.peer('a', 'b')) === undefined, CUT_OFF);
  assert.ok(!pings(world.b, world.ipv4));
  t.diagnostic(`forgotten after ${Math.round(performance.now() - removedAt)} ms`);
  const { ended } = await world.nodeB.says('ended');
  assert.match(JSON.stringify(ended), /"removed".*was removed from the network home/);
  assert.notEqual(spawnSync('ip', ['-n', world.b.name, 'link', 'show', 'lt0']).status, 0);

  const again = world.start(world.b, {
    role: 'node',
    state: world.state('b'),
    join: { token: world.token, name: 'b', device: 'lt0' },
  });
  await again.says('up');
  await until('a to know it', () => world.peer('a', 'b'));
  assert.deepEqual(await world.ask<'leave'>('b', { command: 'leave' }), { told: true });
  await again.says('ended');
  await until('a to forget it', async () => (await world.peer('a', 'b')) === undefined);
});

test('a node that has to wait is let in by an administrator, and is reached then', async (t) => {
  if (!needs(t, 'root', 'netns', 'tun', 'ping')) return;
  const world = new World(t);
  world.forwards = true;
  const { token } = await world.startHub({ ask: true });
  for (const [name, host] of [
    ['a', world.a],
    ['b', world.b],
  ] as const) {
    const join = { token, name, device: 'lt0' };
    await world.start(host, { role: 'node', state: world.state(name), join }).says('up');
  }
  const waiting = await world.ask<'status'>('b', { command: 'status' });
  assert.ok(waiting.self.pending);
  assert.match(waiting.warnings.join(), /waits for an administrator/);
  assert.equal(waiting.relay.via, 'none');
  assert.equal(waiting.self.ipv4, undefined);
  const device = (): string[] =>
    ['address', 'route'].map(
      (what) =>
        spawnSync(
          'ip',
          ['-n', world.b.name, what, 'show', 'dev', 'lt0', 'scope', what === 'route' ? 'all' : 'global'],
          { encoding: 'utf8' },
        ).stdout,
    );
  assert.match(
    spawnSync('ip', ['-n', world.b.name, 'link', 'show', 'lt0'], { encoding: 'utf8' }).stdout,
    /,UP/,
  );
  assert.doesNotMatch(device()[0]!, /inet/);
  assert.equal(device()[1], '');
  await world.actors[1]!.stop(); // a is let in while it is away, and hears of it later
  world.actors[0]!.order({ op: 'approve', node: 'a' }, { op: 'approve', node: 'b' });
  await world.actors[0]!.says('answer');
  await world.start(world.a, { role: 'node', state: world.state('a') }).says('up');
  const { ipv4 } = (await until('b to know a', () => world.peer('b', 'a')))!;
  await until('an answer', () => pings(world.b, ipv4));
  await until('UDP', () => world.relayVia('b', 'udp'));
  const { self } = await world.ask<'status'>('b', { command: 'status' });
  assert.ok(!self.pending);
  assert.ok(device()[0]!.includes(`inet ${self.ipv4}/`));
  assert.notEqual(device()[1], '');
});

test('a machine whose routes collide with the network is refused with the route named, and nothing is left', async (t) => {
  if (!needs(t, 'root', 'netns', 'tun')) return;
  const world = new World(t);
  const { token } = await world.startHub({ range: '10.76.0.0/15' });
  world.a.ip(['route add 10.77.3.0/24 via 198.51.100.1', 'route add 10.0.0.0/8 via 198.51.100.1']);
  const node = world.start(world.a, {
    role: 'node',
    state: world.state('a'),
    join: { token, name: 'a', device: 'lt0' },
  });
  const { failed } = await node.says('failed');
  assert.match(JSON.stringify(failed), /refused.*collides with the route 10\.77\.3\.0\/24/);
  assert.equal(await node.ended, 1);
  assert.notEqual(spawnSync('ip', ['-n', world.a.name, 'link', 'show', 'lt0']).status, 0);
});
