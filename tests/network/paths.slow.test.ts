import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { PeerStatus } from '../../src/node/control/control.js';
import { type Machine, NetworkLab, type SiteOptions } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import type { Running } from '../kit/running.js';
import { until } from '../kit/wait.js';
import { firstAnswer, hasSavedEndpoints, hubAlone, invite, join } from './join.js';

/*
 * How two nodes reach each other, where it depends on the kernel. How soon a path is found and given up is tested on a
 * virtual clock: src/node/machine/paths/*.test.ts and tests/virtual.
 */

const NEEDS = ['netns', 'tun', 'nft', 'ping'] as const;
/** The largest packet that needs no fragmentation inside the network. */
const FULL = ['-M', 'do', '-s', String(1280 - 28)];
/** Without a greeting, a peer sends on the old session for 15 s. Milliseconds. */
const GREETED = 10_000;

const peer = async (machine: Machine): Promise<PeerStatus> => (await machine.status()).peers[0]!;

interface Pair {
  readonly hubMachine: Machine;
  readonly hub: Running;
  readonly left: Machine;
  readonly right: Machine;
  readonly rightNode: Running;
  /** Addresses of the right node: inside the network, and public. */
  readonly ipv4: string;
  readonly public4: string;
}

async function pair(t: TestContext, access: NonNullable<SiteOptions['access']>): Promise<Pair> {
  const lab = new NetworkLab(t);
  const families = 'ipv4';
  const hubMachine = lab.site('hub', { families }).machine;
  const left = lab.site('left', { access, families }).machine;
  const { machine: right, public4 } = lab.site('right', { access, families, lan: 2 });
  const hub = await hubAlone(hubMachine);
  await join(left, invite(hubMachine)).says(/is up/);
  const rightNode = join(right, invite(hubMachine));
  await rightNode.says(/is up/);
  const { ipv4 } = await until('left to learn of right', async () => (await left.status()).peers[0]);
  await until('a reply', () => left.pings(ipv4));
  return { hubMachine, hub, left, right, rightNode, ipv4, public4 };
}

/** Drops outgoing packets that match the rule until `mend` is called. */
function breaks(machine: Machine, rule: string): { mend(): void } {
  const rules = `table inet broken { chain out { type filter hook output priority 0; ${rule} drop; }\n}\n`;
  machine.namespace.run('nft', ['-f', '-'], { input: rules });
  return { mend: () => machine.namespace.run('nft', ['delete table inet broken']) };
}

test('a relayed pair uses the WebSocket while UDP to the hub is blocked', async (t) => {
  if (!needs(t, ...NEEDS)) return;
  const { hub, left, right, ipv4 } = await pair(t, 'hard');
  const via = async (machine: Machine): Promise<string> => (await machine.status()).relay.via;
  await until('UDP', async () => (await via(left)) === 'udp' && (await via(right)) === 'udp');
  assert.equal((await peer(left)).path.kind, 'relayed');
  await left.reaches(ipv4, ...FULL);

  const { mend } = breaks(left, 'udp dport 443');
  await until('the WebSocket', async () => left.pings(ipv4) && (await via(left)) === 'websocket');
  assert.match((await left.status()).relay.why, /stopped passing|no answer by UDP/);
  assert.equal(await via(right), 'udp', 'the other node stays with UDP');
  mend();
  await until('UDP again', async () => (await via(left)) === 'udp');
  await left.reaches(ipv4);

  await hub.stop('SIGKILL');
  await until('the relayed path to be given up', async () => (await peer(left)).path.kind === 'none');
  assert.ok(!left.pings(ipv4));
  const { stdout } = left.lametun('status');
  assert.match(stdout, /^hub +unreachable /m);
  assert.match(stdout, /^right .* none .*\n +there is no relay \(the hub is away/m);
});

test('a direct path outlives the hub and a restart of a node, and the relay replaces it when it fails', async (t) => {
  if (!needs(t, ...NEEDS)) return;
  const { hubMachine, hub, left, right, rightNode, ipv4, public4 } = await pair(t, 'public');
  const isDirect = async (): Promise<boolean> =>
    left.pings(ipv4) &&
    (await peer(left)).path.kind === 'direct' &&
    (await peer(right)).path.kind === 'direct';
  await until('a direct path in both directions', isDirect);
  const { path, lastHandshake, sent, received } = await peer(left);
  assert.ok(path.endpoint!.startsWith(`${public4}:`), path.endpoint);
  assert.ok(lastHandshake > 0 && sent > 0 && received > 0);

  await hasSavedEndpoints(right, 'left');
  const recent = joinPath(right.state, 'recent.json');
  await until('right to save that left has traffic', () => {
    left.pings(ipv4);
    return existsSync(recent) && JSON.parse(readFileSync(recent, 'utf8')).peers.length === 1;
  });
  await hub.stop('SIGKILL');
  await until('the hub to be reported as away', async () => (await left.status()).hub.state === 'away');
  const { stdout } = left.run('ping', '-c20', '-i0.05', '-W15', ipv4);
  assert.match(stdout, / 20 received/, 'nothing is lost');

  await rightNode.stop('SIGKILL');
  left.pings(ipv4); // left still has a session, and does not notice
  const again = right.start('up');
  await again.says(/is up/);
  const began = performance.now();
  await until('a reply without the hub', () => left.pings(ipv4));
  assert.ok(performance.now() - began < GREETED, `${performance.now() - began} ms`);
  assert.notEqual((await right.status()).hub.state, 'connected');

  await hubMachine.start('up').says(/is up/);
  for (const machine of [left, right])
    await until('the nodes to reconnect', async () => (await machine.status()).hub.state === 'connected');
  await until('a direct path again', isDirect);

  const { mend } = breaks(left, `ip daddr ${public4} meta l4proto udp`);
  await until('the relay', async () => left.pings(ipv4) && (await peer(left)).path.kind === 'relayed');
  assert.match((await peer(left)).path.why, /stopped answering/);
  mend();
  await until('a direct path again', isDirect);
});

test('two nodes behind default Linux routers reach each other directly', async (t) => {
  if (!needs(t, ...NEEDS)) return;
  const { left, ipv4 } = await pair(t, 'plain');
  // If a lost packet spoils the first tries, a router keeps an entry for a stranger: pauses of 35 and 60 s follow.
  const isDirect = async (): Promise<boolean> =>
    left.pings(ipv4) && (await peer(left)).path.kind === 'direct';
  await until('a direct path', isDirect, 360_000);
});

const BEHIND: readonly (readonly [what: string, a: SiteOptions, b: SiteOptions])[] = [
  [
    'only TCP 443 open on both sides',
    { access: 'easy', blocked: 'all-but-443' },
    { access: 'easy', blocked: 'all-but-443', lan: 2 },
  ],
  [
    'IPv6 only on one side and IPv4 only on the other',
    { access: 'public', families: 'ipv6' },
    { access: 'easy', families: 'ipv4' },
  ],
];

for (const [what, a, b] of BEHIND) {
  test(`a hub on a third machine: ${what}`, async (t) => {
    if (!needs(t, ...NEEDS)) return;
    const lab = new NetworkLab(t);
    const hub = lab.site('hub').machine;
    const [left, right] = [lab.site('left', a).machine, lab.site('right', b).machine];
    await hubAlone(hub);
    const first = join(left, invite(hub));
    await first.says(/is up/);
    const token = invite(hub);
    await firstAnswer(t, right, () => join(right, token), 'left.home.lametun');
    await left.reaches('right.home.lametun');
  });
}
