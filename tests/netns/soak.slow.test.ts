import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ADDRESS } from '../../src/demo/topology.js';
import { Lab } from '../kit/lab.js';
import { needs } from '../kit/requirements.js';
import { ping, transfer } from '../kit/traffic.js';

/** How long the soak and its warm-up last, seconds. In the warm-up code is compiled and the heap settles. */
const DURATION = 30;
const WARM_UP = 10;
const INTERVAL = 0.1;
const MB = 1_000_000;

/** How much the resident memory of a process without leaks may vary, bytes. */
const SLACK = 10e6;

test('half a minute of full load from two homes causes no interruption and no leak', async (t) => {
  if (!needs(t, 'root', 'tun', 'netns', 'nft', 'ping')) return;
  const lab = new Lab(t, { homes: 2 });
  await lab.serve();
  const tunnels = [await lab.office(), await lab.home(0), await lab.home(1)];
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;

  const pings = lab.net.homes.map(({ laptop }, i) =>
    ping(laptop, i === 0 ? ADDRESS.server.v4 : ADDRESS.server.v6, {
      count: DURATION / INTERVAL,
      interval: INTERVAL,
      wait: 5,
    }),
  );
  let transfers = 0;
  const work = async (from: number): Promise<void> => {
    const { laptop } = lab.net.homes[from]!;
    while (elapsed() < DURATION) {
      await transfer('put', laptop, from === 0 ? ADDRESS.server.v6 : ADDRESS.server.v4, 20 * MB);
      await transfer('get', laptop, from === 0 ? ADDRESS.server.v4 : ADDRESS.server.v6, 20 * MB);
      transfers += 2;
    }
  };
  const measure = () => tunnels.map((tunnel) => ({ memory: tunnel.residentBytes, files: tunnel.openFiles }));
  const measured = new Promise<ReturnType<typeof measure>>((resolve) => {
    setTimeout(() => resolve(measure()), WARM_UP * 1000);
  });
  await Promise.all([work(0), work(1)]);
  const results = await Promise.all(pings);
  const [before, after] = [await measured, measure()];

  t.diagnostic(
    `${transfers} transfers of 20 MB; memory after ${WARM_UP} s and at the end, MB: ` +
      before.map(({ memory }, i) => `${mega(memory)} ${mega(after[i]!.memory)}`).join(', '),
  );
  assert.ok(transfers >= 4, `only ${transfers} transfers`);
  for (const { sent, received, output } of results) {
    assert.ok(sent >= (0.9 * DURATION) / INTERVAL, output);
    // An overflowing queue loses single packets here and there; an interruption loses many in a row.
    assert.ok(received >= 0.85 * sent, output);
    assert.ok(longestGap(output) <= 10, output);
  }
  // Check before the tunnels stop: a home whose office has gone rightly warns.
  for (const tunnel of tunnels) assert.deepEqual(tunnel.all('warning'), []);
  for (const [i, tunnel] of tunnels.entries()) {
    const growth = after[i]!.memory - before[i]!.memory;
    assert.ok(growth < SLACK, `the memory of process ${i} has grown by ${growth} bytes`);
    assert.equal(after[i]!.files, before[i]!.files);
    assert.equal(await tunnel.stop(), 0);
    assert.equal(tunnel.stderr, '');
  }
});

/** The longest run of lost pings. */
function longestGap(output: string): number {
  const answered = [...output.matchAll(/icmp_seq=(\d+)/g)].map(([, sequence]) => Number(sequence));
  return answered.reduce((gap, sequence, i) => Math.max(gap, sequence - (answered[i - 1] ?? 0) - 1), 0);
}

const mega = (bytes: number): string => (bytes / 1e6).toFixed(0);
