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
/** How much slower a restart of ours may be: node starts in a few times what a Go program takes. Milliseconds, and starts. */
const SLACK = 1500;
const STARTS = 10;

/** What node takes to start, milliseconds. */
function startOfNode(): number {
  const started = performance.now();
  spawnSync(process.execPath, ['-e', '']);
  return performance.now() - started;
}

/**
 * Kills a daemon as the kernel does when memory is short, and starts it again.
 *
 * @returns milliseconds until a ping is answered, sorted, and what node took to start in each round
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
    assert.ok(existsSync(socketPath(first.device)), 'a stale socket was expected');
    const started = performance.now();
    await pair.startEnd(first, { heard: false });
    assert.equal(
      (await ping(first.host, second.inner.v4, { wait: 15 })).received,
      1,
      'the first packet was lost',
    );
    times.push(performance.now() - started);
    starts.push(startOfNode());
    // And the other way, to an endpoint that has not changed.
    assert.equal((await ping(second.host, first.inner.v4, { wait: 15 })).received, 1);
  }
  return { times: times.sort((a, b) => a - b), starts };
}

test('killed and restarted with the same configuration, traffic flows again as fast as with wireguard-go', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns', 'wg', 'wireguard-go', 'ping')) return;
  const { times: ours, starts } = await killAndRestart(t, 'lametund');
  const { times: theirs } = await killAndRestart(t, 'wireguard-go');
  const slack = SLACK + STARTS * Math.max(...starts);
  const text = (times: readonly number[]): string => times.map((time) => `${time.toFixed(0)} ms`).join(', ');
  t.diagnostic(
    `from the start to the first answer: lametund ${text(ours)}; wireguard-go ${text(theirs)}; node ${text(starts)}`,
  );
  assert.ok(ours[1]! < theirs[1]! + slack, `${ours[1]} ms, ${theirs[1]} ms; ${slack} ms`);
});
