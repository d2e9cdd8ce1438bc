import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { test } from 'node:test';
import { NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, join, statusOf } from './join.js';

/** A second, and as much more as a busy machine may take. A peer that was not greeted sends 15 s in vain. */
const AT_MOST = 8_000;

test('a node that is killed and starts again answers a peer in a moment', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft', 'ping')) return;
  const lab = new NetworkLab(t);
  const families = 'ipv4';
  const hub = lab.site('hub', { families }).machine;
  const home = lab.site('home', { families }).machine;
  const office = lab.site('office', { families }).machine;
  await hubAlone(hub);
  await join(home, invite(hub)).says(/is up/);
  const first = join(office, invite(hub));
  await first.says(/is up/);
  const peer = async () => (await statusOf(home)).peers[0]!;
  const { ipv4 } = await until('home to know office', peer);
  await until('a direct path', async () => home.pings(ipv4) && (await peer()).path.kind === 'direct');
  const recent = joinPath(office.state, 'recent.json');
  await until('office to write down that home has traffic', () => {
    home.pings(ipv4);
    return existsSync(recent) && JSON.parse(readFileSync(recent, 'utf8')).peers.length === 1;
  });
  await first.stop('SIGKILL');
  home.pings(ipv4); // it has a session still, and notices nothing
  await office.start('up').says(/is up/);
  const began = performance.now();
  await until('an answer', () => home.pings(ipv4, 1));
  const took = Math.round(performance.now() - began);
  t.diagnostic(`first answer after ${took} ms`);
  assert.ok(took < AT_MOST, `${took} ms`);
});
