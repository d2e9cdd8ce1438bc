import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, join } from './join.js';

interface Offer {
  readonly network: string;
  readonly state: string;
}

test('what a node shares is offered again to a hub that was restored from before', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft')) return;
  const lab = new NetworkLab(t);
  const hub = lab.site('hub').machine;
  const gateway = lab.site('gateway', { access: 'easy', gateway: true, lan: 9 }).machine;
  const ok = (...args: readonly string[]): string => {
    const { status, stdout, stderr } = hub.lametun(...args);
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  const offers = (): readonly Offer[] => JSON.parse(ok('nodes', '--json')).nodes[0].offered;
  const running = await hubAlone(hub);
  await join(gateway, invite(hub)).says(/is up/);
  const file = `${hub.state}/old.backup`;
  ok('backup', file);
  assert.equal(gateway.lametun('share', '192.168.9.0/24').status, 0);
  ok('approve', 'gateway');
  assert.deepEqual(offers(), [{ network: '192.168.9.0/24', state: 'approved' }]);

  await running.stop();
  ok('restore', file);
  await hub.start('up').says(/is up/);
  await until('the offer', () => offers().length > 0);
  assert.deepEqual(offers(), [{ network: '192.168.9.0/24', state: 'pending' }]);
  await until('the gateway to hear of it', () => gateway.status().shares[0]?.state === 'pending');
  assert.deepEqual(gateway.status().shares, offers());
  ok('approve', 'gateway');
  await until('its share', () => gateway.status().shares[0].state === 'approved');
});
