import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ADDRESS } from '../../src/demo/topology.js';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { Lab } from '../kit/lab.js';
import type { Lametun } from '../kit/lametun.js';
import { needs } from '../kit/requirements.js';
import { assertPing, transfer } from '../kit/traffic.js';
import { until } from '../kit/wait.js';

const NOISE = fileURLToPath(new URL('../kit/noise.js', import.meta.url));
const vectors = readFileSync(new URL('../vectors/go-lametun.json', import.meta.url), 'utf8');
const real: string[] = JSON.parse(vectors).datagrams.map(({ hex }: { hex: string }) => hex);

const canRun = (t: TestContext): boolean => needs(t, 'root', 'tun', 'netns', 'nft', 'ping');

/** Sends noise to a tunnel. `heard` waits until the tunnel has counted it. */
function makeNoise(
  from: Namespace,
  tunnel: Lametun,
  to: string,
  count: number,
  seed: number,
  ...localPort: string[]
): void {
  from.run(process.execPath, [NOISE, to, '1234', `${count}`, `${seed}`, `${tunnel.pid}`, ...localPort], {
    input: JSON.stringify(real),
  });
}

/** How many datagrams and packets a tunnel has counted as accepted or dropped. */
function counted({ stats }: Lametun): number {
  if (stats === undefined) return 0;
  return stats.packetsIn + Object.values(stats.drops).reduce((sum, count) => sum + count, 0);
}

/** Waits until a tunnel has counted nearly all noise: the kernel may drop some. */
const heard = (tunnel: Lametun, count: number): Promise<true> =>
  until(`${count} datagrams to be counted`, () => counted(tunnel) >= 0.95 * count);

/** How much the resident memory of a process without leaks may vary, bytes. */
const SLACK = 12e6;

test('100 000 random and truncated datagrams from a stranger change nothing for a listener', async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t);
  await lab.serve();
  const listener = await lab.office();
  await lab.home();
  await assertPing(lab.net.laptop, ADDRESS.server.v4);
  const { internet, laptop } = lab.net;
  makeNoise(internet, listener, ADDRESS.office.v4, 20_000, 1); // warm-up: code is compiled and tables fill
  await heard(listener, 20_000);
  const before = { memory: listener.residentBytes, files: listener.openFiles };

  makeNoise(internet, listener, ADDRESS.office.v4, 100_000, 2);
  await heard(listener, 120_000);
  const { drops, clients } = listener.stats!;
  assert.ok(drops.malformed! > 60_000, JSON.stringify(drops));
  assert.ok(clients <= 1024);
  await assertPing(laptop, ADDRESS.server.v4);
  await assertPing(laptop, ADDRESS.server.v6);
  await transfer('put', laptop, ADDRESS.server.v4, 1_000_000);
  const growth = listener.residentBytes - before.memory;
  t.diagnostic(`${(growth / 1e6).toFixed(1)} MB more`);
  assert.ok(growth < SLACK, `memory has grown by ${growth} bytes`);
  assert.equal(listener.openFiles, before.files);
  assert.equal(listener.stderr, '');
});

test("noise from the server's own address and port changes nothing for a client", async (t) => {
  if (!canRun(t)) return;
  const lab = new Lab(t, { nat: 'none' });
  const first = await lab.office();
  const home = await lab.home();
  await assertPing(lab.net.laptop, ADDRESS.server.v4);
  await first.stop();
  makeNoise(lab.net.gateway, home, ADDRESS.laptop.v4, 10_000, 3, '1234');
  await heard(home, 10_000);
  const before = home.residentBytes;
  makeNoise(lab.net.gateway, home, ADDRESS.laptop.v4, 30_000, 4, '1234');
  await heard(home, 40_000);
  assert.ok(home.residentBytes - before < SLACK);
  await lab.office();
  await assertPing(lab.net.laptop, ADDRESS.server.v4);
});
