import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, join } from './join.js';
import { Pings } from './pings.js';

/**
 * Milliseconds without an answer that are allowed: noticing takes 2.3 s at most, and the machine is busy. Exact times are in
 * src/node/machine/paths/paths.test.ts and relay-binding.test.ts.
 */
const GAP = 8_000;
const INTERVAL = 100;

const path = (machine: Machine, peer: string): string =>
  machine.status().peers.find(({ name }: { name: string }) => name === peer)?.path.kind;

async function pair(
  t: TestContext,
  access: 'public' | 'hard',
  kind: 'direct' | 'relayed',
): Promise<{ left: Machine; right: Machine; right4: string }> {
  const lab = new NetworkLab(t);
  const hub = lab.site('hub').machine;
  const [left, site] = [lab.site('left', { access }).machine, lab.site('right', { access })];
  const right = site.machine;
  await hubAlone(hub);
  for (const machine of [left, right]) await join(machine, invite(hub)).says(/is up/);
  await until('an answer', () => left.pings('right.home.lametun'));
  await until(kind, () => left.pings('right.home.lametun') && path(left, 'right') === kind);
  return { left, right, right4: site.public4 };
}

/** Rules on a machine that drop what goes out to a UDP port, or to an address. */
function breaks(machine: Machine, rule: string): void {
  const rules = `table inet broken { chain out { type filter hook output priority 0; ${rule} drop; }\n}\n`;
  machine.namespace.run('nft', ['-f', '-'], { input: rules });
}

/** Pings, breaks something, and gives for how long nothing was answered, milliseconds. */
async function gap(machine: Machine, breakIt: () => void): Promise<number> {
  const flow = new Pings(machine, 'right.home.lametun');
  await sleep(2_000);
  breakIt();
  await sleep(GAP + 1_000);
  const { lost } = await flow.stop();
  let longest = 0;
  let run = 0;
  for (const [i, number] of lost.entries()) {
    run = number - 1 === lost[i - 1] ? run + 1 : 1;
    longest = Math.max(longest, run);
  }
  return longest * INTERVAL;
}

test('a relayed pair goes on by the WebSocket soon after UDP to the hub has stopped passing', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const { left } = await pair(t, 'hard', 'relayed');
  await until('UDP to be used', () => left.status().relay.via === 'udp');
  const milliseconds = await gap(left, () => breaks(left, 'udp dport 443'));
  t.diagnostic(`without an answer for ${milliseconds} ms`);
  assert.ok(milliseconds > 0, 'UDP was used');
  assert.ok(milliseconds <= GAP, `${milliseconds} ms`);
  assert.equal(left.status().relay.via, 'websocket');
});

test('a direct path that dies is replaced by the relay soon', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const { left, right4 } = await pair(t, 'public', 'direct');
  const peer = left.status().peers[0];
  t.diagnostic(`direct to ${peer.path.endpoint}`);
  const families = `meta l4proto udp ip daddr ${right4}`;
  const milliseconds = await gap(left, () => {
    breaks(left, families);
    left.namespace.run('nft', [
      'add rule inet broken out meta l4proto udp udp dport != 443 ip6 daddr 2001:db8:51::/48 drop',
    ]);
  });
  t.diagnostic(`without an answer for ${milliseconds} ms`);
  assert.ok(milliseconds > 0, 'the direct path was used');
  assert.ok(milliseconds <= GAP, `${milliseconds} ms`);
  assert.equal(path(left, 'right'), 'relayed');
});
