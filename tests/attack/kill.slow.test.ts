import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { needs } from '../kit/requirements.js';
import { ping } from '../kit/traffic.js';
import { until } from '../kit/wait.js';
import { deviceExists, type Implementation, socketPath } from '../kit/wireguard.js';
import { WireGuardPair } from '../kit/wireguard-pair.js';

const ROUNDS = 3;
/** How much slower a restart of lametund may be, as Node.js starts slower than Go: milliseconds, and starts of node. */
const SLACK = 1500;
const STARTS = 10;

/** The start time of node, milliseconds. */
function startOfNode(): number {
  const started = performance.now();
  spawnSync(process.execPath, ['-e', '']);
  return performance.now() - started;
}

/**
 * Kills a daemon as the kernel does when memory is short, and starts it again.
 *
 * @returns milliseconds until a ping is answered, sorted, and the start time of node in each round
 */
async function killAndRestart(
  t: TestContext,
  implementation: Implementation,
): Promise<{ readonly times: number[]; readonly starts: number[] }> {
  const pair = await WireGuardPair.start(t, {
    implementations: [implementation, 'wireguard-go'],
    preshared: true,
  });
  const { first, second } = pair;
  assert.equal((await ping(first.host, second.inner.v4, { wait: 15 })).received, 1);
  const times: number[] = [];
  const starts: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    assert.equal(await first.wireguard.stop('SIGKILL'), 'SIGKILL');
    await until('the device to go', () => !deviceExists(first.device));
    assert.ok(existsSync(socketPath(first.device)), 'expected a stale socket');
    const started = performance.now();
    await pair.startEnd(first, { heard: false });
    assert.equal(
      (await ping(first.host, second.inner.v4, { wait: 15 })).received,
      1,
      'the first packet was lost',
    );
    times.push(performance.now() - started);
    starts.push(startOfNode());
    // And in the other direction, to an unchanged endpoint.
    assert.equal((await ping(second.host, first.inner.v4, { wait: 15 })).received, 1);
  }
  return { times: times.sort((a, b) => a - b), starts };
}

test('after a kill and restart, traffic resumes as fast as with wireguard-go', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns', 'wg', 'wireguard-go', 'ping')) return;
  const { times: ours, starts } = await killAndRestart(t, 'lametund');
  const { times: theirs } = await killAndRestart(t, 'wireguard-go');
  const slack = SLACK + STARTS * Math.max(...starts);
  const text = (times: readonly number[]): string => times.map((time) => `${time.toFixed(0)} ms`).join(', ');
  t.diagnostic(
    `from start to first reply: lametund ${text(ours)}; wireguard-go ${text(theirs)}; node ${text(starts)}`,
  );
  assert.ok(ours[1]! < theirs[1]! + slack, `${ours[1]} ms, ${theirs[1]} ms; ${slack} ms`);
});
