/*
 * What a malicious or removed member can do. Floods of requests: src/hub/server/server.test.ts. Spoofed UDP frames and
 * relay bindings, floods of frames: src/hub/relay/relay.test.ts and flood.test.ts. Probes with false candidates:
 * src/node/machine/paths/paths.test.ts. Networks behind a node: tests/netns/shares.slow.test.ts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type RunningHub, startHub } from '../../src/hub/start.js';
import { TextLog } from '../../src/log.js';
import type { PeerStatus } from '../../src/node/control/control.js';
import type { AdminAnswers, Answers } from '../../src/protocol/messages.js';
import { parseToken } from '../../src/protocol/token.js';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { frameTo, RelayMember, relayable } from '../kit/relay-member.js';
import { needs } from '../kit/requirements.js';
import type { Running } from '../kit/running.js';
import { ADMIN_REQUESTS, TestNode, TestRefusal } from '../kit/test-node.js';
import { until } from '../kit/wait.js';
import { CUT_OFF, hasSavedEndpoints, hubAlone, invite, join } from '../network/join.js';

const log = new TextLog(0, 'hub', () => {});

async function start(t: TestContext): Promise<RunningHub> {
  const state = mkdtempSync(joinPath(tmpdir(), 'lametun-hub-'));
  const hub = await startHub({ port: 0, public: ['127.0.0.1'], log, state, range: '10.77.0.0/16' });
  t.after(async () => {
    await hub.close();
    rmSync(state, { recursive: true });
  });
  return hub;
}

interface Member {
  readonly node: TestNode;
  readonly secret: Uint8Array;
  readonly attached: Answers['attach'];
}

async function member(t: TestContext, hub: RunningHub, name: string, shares: string[] = []): Promise<Member> {
  const request = { op: 'invite', expires: 60, reusable: false, admin: false, shares } as const;
  const { token } = (await hub.administer(request)) as AdminAnswers['invite'];
  const { secret } = parseToken(token);
  const node = await new TestNode().connect(hub);
  t.after(() => node.close());
  await node.join(secret, name);
  return { node, secret, attached: await node.attach() };
}

const session = ({ attached: { relay } }: Member) => ({
  session: new Uint8Array(Buffer.from(relay.session, 'base64')),
  key: new Uint8Array(Buffer.from(relay.key, 'base64')),
});
const refusedWith = (code: string) => (error: unknown) => error instanceof TestRefusal && error.code === code;

test('a member cannot choose a name, an address or a key that is not its own', async (t) => {
  const hub = await start(t);
  const a = await member(t, hub, 'office');
  const liar = await member(t, hub, 'office');
  await liar.node.mapHas('both', (map) => map.size === 2);
  const [first, second] = [...liar.node.map.nodes()].sort((x, y) => x.id - y.id);
  assert.equal(first!.name, 'office');
  assert.equal(second!.name, 'office-2');
  assert.equal(
    second!.key,
    liar.node.keyText,
    'the key is that of its channel; a member cannot name another',
  );
  for (const field of ['key', 'ipv4', 'ipv6', 'admin', 'node', 'nodeId'])
    await assert.rejects(
      liar.node.ask({
        type: 'join',
        secret: Buffer.from(liar.secret).toString('base64'),
        name: 'x',
        shares: [],
        [field]: a.node.keyText,
      }),
      refusedWith('bad-request'),
      field,
    );
  // Joining again changes nothing.
  assert.equal((await liar.node.join(liar.secret, 'admin')).you.name, 'office-2');
});

test('a share is pending until an administrator approves it, and may not overlap another’s', async (t) => {
  const hub = await start(t);
  const a = await member(t, hub, 'a', ['192.168.1.0/24']);
  await a.node.ask({ type: 'share', shares: ['192.168.1.0/24'] });
  const liar = await member(t, hub, 'liar');
  const { ipv6 } = hub.network;
  const lies = ['0.0.0.0/0', '::/0', '0.0.0.0/1', '192.168.1.0/25', '192.168.0.0/16', '10.77.0.0/24', ipv6];
  lies.push('127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '198.51.100.0/24');
  const { shares } = await liar.node.ask({ type: 'share', shares: lies });
  assert.deepEqual(
    shares.map(({ network, state }) => [network, state]).sort(),
    lies.map((network) => [network, network === '198.51.100.0/24' ? 'pending' : 'refused']).sort(),
  );
  await liar.node.mapHas('both', (map) => map.size === 2);
  assert.deepEqual([...liar.node.map.nodes()].find(({ name }) => name === 'liar')!.shares, []);
  await assert.rejects(
    liar.node.ask({ type: 'share', shares: Array.from({ length: 65 }, (_, i) => `172.16.${i}.0/24`) }),
    refusedWith('bad-request'),
  );
  await assert.rejects(
    hub.administer({ op: 'approve', node: 'liar', shares: ['192.168.1.0/25'] }),
    /overlaps 192\.168\.1\.0\/24 of a/,
    'even for an administrator',
  );
});

test('a member that is no administrator cannot administer', async (t) => {
  const hub = await start(t);
  await member(t, hub, 'a');
  const liar = await member(t, hub, 'liar');
  for (const request of [...ADMIN_REQUESTS, { op: 'approve', node: 'liar' } as const])
    await assert.rejects(liar.node.ask({ type: 'admin', request }), refusedWith('not-an-admin'), request.op);
});

test('a message that is too large or malformed closes its sender’s channel', async (t) => {
  const hub = await start(t);
  for (const message of [{ type: 'join', id: 1, name: 'x'.repeat(70_000) }, { nonsense: 1 }, []]) {
    const { node } = await member(t, hub, 'a');
    node.sendRaw(message);
    assert.equal(await node.closed(), 4005);
  }
  const { node } = await member(t, hub, 'b');
  node.socket!.send(randomBytes(100));
  assert.equal(await node.closed(), 4004, 'nor can anyone on the network path inject data');
  const { nodes } = (await hub.administer({ op: 'nodes' })) as AdminAnswers['nodes'];
  assert.equal(nodes.length, 4);
  await until('all to be offline', async () => {
    const { nodes } = (await hub.administer({ op: 'nodes' })) as AdminAnswers['nodes'];
    return nodes.every(({ online }) => !online);
  });
});

test('frames carry their sender’s id; a removed member’s are dropped, by channel and by UDP', async (t) => {
  const hub = await start(t);
  const [a, b] = [await member(t, hub, 'a'), await member(t, hub, 'b')];
  const [udpA, udpB] = [new RelayMember(hub.port), new RelayMember(hub.port)];
  t.after(() => [udpA, udpB].map((each) => each.close()));
  await udpA.bind(session(a));
  await udpB.bind(session(b));
  const ids = { a: a.attached.you.id, b: b.attached.you.id };
  udpB.send(frameTo(ids.a, relayable(64)));
  assert.deepEqual(
    (await udpA.frames(1)).map(({ from }) => from),
    [ids.b],
  );
  b.node.sendFrame(ids.a, relayable(80));
  assert.deepEqual(
    (await udpA.frames(1)).map(({ from }) => from),
    [ids.b],
  );
  // Another member's relay session is useless without its key.
  udpB.send(udpB.makeBind({ session: session(a).session, key: session(b).key }));
  assert.deepEqual(await udpB.receive(1, 300), []);

  const removedAt = performance.now();
  await hub.administer({ op: 'remove', node: 'b' });
  assert.equal(typeof (await b.node.closed()), 'number');
  assert.ok(performance.now() - removedAt < CUT_OFF);
  udpB.send(frameTo(ids.a, relayable(64)));
  b.node.sendFrame(ids.a, relayable(64));
  udpA.send(frameTo(ids.b, relayable(64)));
  assert.deepEqual(await udpA.frames(1, 500), []);
  assert.deepEqual(await udpB.receive(1, 300), []);
  udpB.send(udpB.makeBind(session(b)));
  assert.deepEqual(await udpB.receive(1, 300), [], 'its relay session has ended');

  const again = await new TestNode(b.node.key).connect(hub);
  t.after(() => again.close());
  await assert.rejects(again.ask({ type: 'who' }), refusedWith('not-a-member'));
  await assert.rejects(again.join(b.secret, 'b'), refusedWith('used-up'));
  await assert.rejects(again.attach(), /closed with 1000/);
  assert.equal(again.messages.at(-1)?.type, 'removed');
  await again.connect(hub);
  again.sendFrame(ids.a, relayable(64));
  assert.equal(await again.closed(), 4005);
  assert.deepEqual(await udpA.frames(1, 300), []);
});

// The rest of this file runs whole nodes.

const NO_HUB = `table inet nohub {
  chain in {
    type filter hook input priority 0;
    meta l4proto { tcp, udp } th sport 443 drop
  }
  chain out {
    type filter hook output priority 0;
    meta l4proto { tcp, udp } th dport 443 drop
  }
}`;

/** How many ICMP messages a machine's kernel has received, from all devices. */
const heard = (machine: Machine): number => {
  const [, values] = machine.run('grep', '^Icmp:', '/proc/net/snmp').stdout.split('\n');
  return Number(values!.split(' ')[1]);
};

function block(machine: Machine): void {
  machine.namespace.run('nft', ['-f', '-'], { input: NO_HUB });
}
function unblock(machine: Machine): void {
  machine.namespace.run('nft', ['delete', 'table', 'inet', 'nohub']);
}
const peer = async (machine: Machine, name: string): Promise<PeerStatus | undefined> =>
  (await machine.status()).peers.find((each) => each.name === name);

test('connected members cut off a removed node within 2 s even if it ignores its removal; the others when they reconnect', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const hub = lab.site('hub').machine;
  const sites = ['a', 'b', 'c'].map((name) => lab.site(name));
  const [a, b, c] = sites.map(({ machine }) => machine) as [Machine, Machine, Machine];
  await hubAlone(hub);
  const token = invite(hub, '--reusable');
  const nodes: Running[] = [a, b, c].map((machine) => join(machine, token));
  for (const node of nodes) await node.says(/is up/);
  const b4 = (await b.status()).self.ipv4!;
  for (const [from, to] of [
    [b, 'a'],
    [b, 'c'],
    [a, 'c'],
    [c, 'a'],
    [c, 'b'],
  ] as const)
    await until(`a direct path from ${from.name} to ${to}`, async () => {
      from.pings(`${to}.home.lametun`);
      return (await peer(from, to))?.path.kind === 'direct';
    });

  await t.test('packets from a member that uses another’s inner address are dropped', async () => {
    const c4 = (await c.status()).self.ipv4!;
    const a4 = (await a.status()).self.ipv4!;
    b.run('ip', 'address', 'add', `${c4}/32`, 'dev', 'lametun0');
    const before = heard(a);
    assert.ok(!b.pings(a4, 1, '-I', c4));
    assert.equal(heard(a), before, 'nothing left the device');
    await b.reaches(a4, '-I', b4); // control
    assert.ok(heard(a) > before);
    b.run('ip', 'address', 'del', `${c4}/32`, 'dev', 'lametun0');
  });

  await t.test(
    'packets from a neighbor outside that uses an inner address are dropped; its own address reaches open ports',
    async () => {
      const a4 = (await a.status()).self.ipv4!;
      a.namespace.sysctl({ 'net.ipv4.conf.all.rp_filter': 0, 'net.ipv4.conf.wan.rp_filter': 0 });
      lab.internet.ip([`address add ${b4}/32 dev lo`, `route add ${a4}/32 via ${sites[0]!.public4}`]);
      const before = heard(a);
      lab.internet.inside(() => spawnSync('ping', ['-c2', '-W1', '-I', b4, a4]));
      assert.equal(heard(a), before);
      const { status } = lab.internet.inside(() => spawnSync('ping', ['-c1', '-w15', a4]));
      assert.equal(status, 0, 'control; no VPN of this kind prevents it');
      lab.internet.ip([`address del ${b4}/32 dev lo`, `route del ${a4}/32`]);
    },
  );

  // b does not learn of its removal and keeps running. Neither does c, which has no hub, even after a restart.
  await hasSavedEndpoints(c, 'a', 'b');
  block(b);
  block(c);
  await nodes[2]!.stop('SIGKILL');
  nodes[2] = c.start('up');
  await nodes[2].says(/is up/);
  await until('c to reach a and b', () => c.pings('b.home.lametun') && c.pings('a.home.lametun'));
  for (const other of ['a', 'c']) await b.reaches(`${other}.home.lametun`); // they still reach each other
  const removedAt = performance.now();
  assert.equal(hub.lametun('remove', 'b').status, 0);
  await until('a to forget b', async () => (await peer(a, 'b')) === undefined, CUT_OFF);
  t.diagnostic(`forgotten after ${Math.round(performance.now() - removedAt)} ms`);
  assert.ok(!b.pings('a.home.lametun', 2), 'although b still sends on a direct path');
  assert.ok(!a.pings(b4, 1));
  await a.reaches('c.home.lametun'); // others are unaffected
  await b.reaches('c.home.lametun'); // c does not know yet: the cost of an absent hub
  unblock(c);
  await until('c to forget b', async () => (await peer(c, 'b')) === undefined);
  assert.ok(!b.pings('c.home.lametun', 2));

  assert.ok(nodes[1]!.running);
  unblock(b);
  assert.notEqual(await nodes[1]!.ended, 0, 'b ends once it learns of its removal');
  assert.match(nodes[1]!.stderr, /was removed from the network home/);
});
