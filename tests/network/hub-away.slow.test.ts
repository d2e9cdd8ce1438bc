import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import type { Running } from '../kit/running.js';
import { until } from '../kit/wait.js';
import { hasWrittenDown, hubAlone, invite, join } from './join.js';
import { Pings } from './pings.js';

/** One rekey of WireGuard's without the hub: Rekey-After-Time is 120 s, [W] 6.1. Milliseconds. */
const AWAY = 150_000;
/** How long it may take until a node has found the hub that is back, milliseconds: the longest wait of a node's is 30 s. */
const BACK = 120_000;

const path = (machine: Machine, peer: string): string =>
  machine.status().peers.find(({ name }: { name: string }) => name === peer)?.path.kind;

const handshake = (machine: Machine, peer: string): number =>
  machine.status().peers.find(({ name }: { name: string }) => name === peer).lastHandshake;

const isConnected = (machine: Machine): boolean => machine.status().hub.state === 'connected';

test('a hub that is away for 150 s is not missed by those who reach each other, and found again by all', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const hubMachine = lab.site('hub').machine;
  const [near, far, mobile] = ['near', 'far', 'mobile'].map((name) => lab.site(name).machine) as [
    Machine,
    Machine,
    Machine,
  ];
  const [left, right] = ['left', 'right'].map((name) => lab.site(name, { access: 'hard' }).machine) as [
    Machine,
    Machine,
  ];
  const late = lab.site('late', { access: 'easy' }).machine;
  const hub = await hubAlone(hubMachine);
  const running = new Map<Machine, Running>();
  for (const machine of [near, far, mobile, left, right]) {
    const started = join(machine, invite(hubMachine));
    await started.says(/is up/);
    running.set(machine, started);
  }
  const lateToken = invite(hubMachine);
  const pings = (from: Machine, to: Machine, within?: number): Promise<unknown> =>
    until(`${to.name} to answer ${from.name}`, () => from.pings(`${to.name}.home.lametun`), within);
  for (const [from, to] of [
    [near, far],
    [mobile, far],
    [left, right],
  ] as const)
    await pings(from, to);
  for (const machine of [near, mobile])
    await until(
      'a direct path',
      () => machine.pings('far.home.lametun') && path(machine, 'far') === 'direct',
    );
  assert.equal(path(left, 'right'), 'relayed');
  await hasWrittenDown(mobile, 'far');

  await hub.stop('SIGKILL');
  const awaySince = performance.now();
  const handshakeBefore = handshake(near, 'far');
  const flow = new Pings(near, 'far.home.lametun');

  await t.test('a relayed pair does not reach each other, and says why', async () => {
    await until('the relay to be given up', () => path(left, 'right') === 'none');
    assert.ok(!left.pings('right.home.lametun'));
    const { stdout } = left.lametun('status');
    assert.match(stdout, /^hub +unreachable /m);
    assert.match(stdout, /^right .* none .*\n +there is no relay \(the hub is away/m);
  });

  await t.test('a node is told to end, or killed, and comes up from its map', async (t) => {
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await running.get(mobile)!.stop(signal);
      const start = performance.now();
      const again = mobile.start('up');
      running.set(mobile, again);
      await again.says(/is up/);
      await pings(mobile, far);
      t.diagnostic(`after ${signal}: an answer ${Math.round(performance.now() - start)} ms after \`up\``);
      await until(
        'a direct path',
        () => path(mobile, 'far') !== 'relayed' && far.pings('mobile.home.lametun'),
      );
      assert.notEqual(mobile.status().hub.state, 'connected');
    }
  });

  await t.test('who is away cannot be asked, and that is said', () => {
    const { status, stderr } = far.lametun('leave');
    assert.equal(status, 1);
    assert.match(stderr, /hub cannot be told.*--force/s);
  });

  await sleep(Math.max(0, AWAY - (performance.now() - awaySince)));
  assert.ok(handshake(near, 'far') > handshakeBefore + 1_000, 'there was a rekey meanwhile');

  const backSince = performance.now();
  const hubAgain = hubMachine.start('up');
  await hubAgain.says(/is up/);
  const lateJoin = join(late, lateToken);
  await lateJoin.says(/is up/);
  await pings(late, near, BACK); // which may not know of it before it has found the hub
  await t.test('all find it again, and a new node joins', async (t) => {
    await until('the relayed pair to speak', () => left.pings('right.home.lametun'), BACK);
    t.diagnostic(`relayed again ${Math.round(performance.now() - backSince)} ms after the hub's start`);
    for (const machine of [near, far, mobile, left, right])
      await until(`${machine.name} to be connected`, () => isConnected(machine), BACK);
    t.diagnostic(`all connected ${Math.round(performance.now() - backSince)} ms after the hub's start`);
    await pings(far, late);
  });

  const { sent, lost } = await flow.stop();
  t.diagnostic(`of ${sent} pings on the direct path ${lost.length} were lost`);
  assert.ok(sent > AWAY / 150, `it was pinged all the time: ${sent}`);
  assert.deepEqual(lost, [], 'nothing is lost on a direct path');
});
