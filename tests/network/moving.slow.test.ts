import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Namespace } from '../../src/linux/process/namespace.js';
import { type Machine, NetworkLab } from '../kit/network-lab.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { hubAlone, invite, join } from './join.js';

/**
 * From leaving one network to a new channel in the next, milliseconds: 3.5 s, and an allowance for busy machines. A node
 * that did not watch the network would notice the silence only after 15 to 30 s.
 */
const AT_MOST = 12_000;

/** The local endpoints of the laptop's connections to the hub. */
const channels = (laptop: Machine): string[] =>
  laptop
    .run('ss', '-Htn', 'state', 'established', 'dport', '=', ':443')
    .stdout.split('\n')
    .flatMap((line) => /(\S+):(\d+)\s+\S+:443\b/.exec(line)?.slice(1, 3).join(':') ?? []);

async function laptopAtHome(t: TestContext): Promise<{ laptop: Machine; router: Namespace }> {
  const lab = new NetworkLab(t);
  const hub = lab.site('hub', { families: 'ipv4' }).machine;
  const { machine: laptop, router } = lab.site('laptop', { access: 'hard', families: 'ipv4' });
  await hubAlone(hub);
  await join(laptop, invite(hub)).says(/is up/);
  await until('exactly one channel', () => channels(laptop).length === 1);
  return { laptop, router: router! };
}

async function newChannel(t: TestContext, laptop: Machine, isNew: (local: string) => boolean): Promise<void> {
  const began = performance.now();
  await until('a new channel', () => channels(laptop).some(isNew));
  const took = Math.round(performance.now() - began);
  t.diagnostic(`a channel after ${took} ms`);
  assert.ok(took < AT_MOST, `${took} ms`);
  await until('the node to connect', async () => (await laptop.status()).hub.state === 'connected');
}

test('a laptop that changes Wi-Fi or default route reconnects its channel within seconds', async (t) => {
  if (!needs(t, 'netns', 'tun', 'nft')) return;
  const { laptop, router } = await laptopAtHome(t);
  laptop.namespace.ip(['addr del 192.168.1.23/24 dev eth0']);
  laptop.namespace.ip(['addr add 192.168.1.77/24 dev eth0', 'route add default via 192.168.1.1']);
  await newChannel(t, laptop, (local) => local.startsWith('192.168.1.77:'));

  // It keeps its address and gets another default route.
  const [channel] = channels(laptop).filter((local) => local.startsWith('192.168.1.77:'));
  const port = channel!.split(':')[1]!;
  // The new router does not know the old connections, and drops their packets.
  const rules = `table inet moved { chain out { type filter hook output priority 0; tcp sport ${port} drop; }\n}\n`;
  laptop.namespace.run('nft', ['-f', '-'], { input: rules });
  router.ip(['addr add 192.168.1.2/24 dev lan']);
  laptop.namespace.ip(['route replace default via 192.168.1.2']);
  await newChannel(t, laptop, (local) => local !== channel && local.startsWith('192.168.1.77:'));
});
