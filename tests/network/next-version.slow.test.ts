import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { type TestContext, test } from 'node:test';
import { PROTOCOL_VERSIONS } from '../../src/protocol/messages.js';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { join, serve } from './join.js';

const NEWEST = Math.max(...PROTOCOL_VERSIONS);
const MESSAGES = new URL('../../src/protocol/messages.js', import.meta.url).href;

/** Starts processes that speak other protocol versions. */
function speaking(t: TestContext, versions: readonly number[]): <T>(start: () => T) => T {
  const folder = mkdtempSync(joinPath(tmpdir(), 'lametun-next-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = joinPath(folder, 'speaks.mjs');
  const list = JSON.stringify(versions);
  writeFileSync(
    file,
    `import { PROTOCOL_VERSIONS as list } from '${MESSAGES}';\nlist.splice(0, list.length, ...${list});\n`,
  );
  return (start) => {
    process.env['NODE_OPTIONS'] = `--import=file://${file}`;
    try {
      return start();
    } finally {
      delete process.env['NODE_OPTIONS'];
    }
  };
}

const isConnected = async (machine: Machine): Promise<boolean> =>
  (await machine.status()).hub.state === 'connected';

test('a hub and nodes one protocol version apart work together, and two apart say so', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const next = speaking(t, [NEWEST, NEWEST + 1]);
  const far = speaking(t, [NEWEST + 1]);
  const [office, today, newer, stranger] = ['office', 'today', 'newer', 'stranger'].map(
    (name) => lab.site(name).machine,
  ) as [Machine, Machine, Machine, Machine];
  const first = await serve(office);
  // The hub that is told here is today's.
  const refused = far(() => stranger.lametun('join', first.token));
  assert.notEqual(refused.status, 0);
  assert.match(
    refused.stderr,
    new RegExp(
      `this machine has lametun .* \\(protocol ${NEWEST + 1}\\), the hub has .* \\(protocol ${NEWEST}\\): update`,
    ),
  );
  const running = next(() => join(newer, first.token));
  await running.says(/is up/);
  await newer.reaches('office.home.lametun');

  // Now the hub is updated, and the node that was newer is joined by one of today.
  assert.equal(await first.hub.stop(), 0);
  const hub = next(() => office.start('up'));
  await hub.says(/is up/);
  const { status, stdout, stderr } = office.lametun('invite', '--json');
  assert.equal(status, 0, stderr);
  const { token } = JSON.parse(stdout) as { token: string };
  await join(today, token).says(/is up/);
  await until(
    'both nodes at the new hub',
    async () => (await isConnected(newer)) && (await isConnected(today)),
  );
  await today.reaches('office.home.lametun');
  await today.reaches('newer.home.lametun');
});
