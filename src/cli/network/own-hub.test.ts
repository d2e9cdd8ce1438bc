import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeStatus } from '../../node/control/control.js';
import type { RunningNode } from '../../node/control/running-node.js';
import type { AdminRequest, OfferedShare } from '../../protocol/messages.js';
import { withOwnHub } from './own-hub.js';

const LAN = '192.168.1.0/24';

/** A node of network `n1` that offers the given shares, and a hub that approves every request. */
function world(network = 'n1', waiting: { name: string; shares?: string[] }[] = [], option = '') {
  const asked: AdminRequest[] = [];
  const offers = (shares: readonly string[], state: OfferedShare['state']) =>
    shares.map(
      (each): OfferedShare => ({ network: each, state: each.startsWith('10.') ? 'approved' : state }),
    );
  const node = {
    ended: new Promise(() => {}),
    isEnding: false,
    status: () =>
      ({ network: { id: 'n1' }, self: { id: 7, name: 'office' }, warnings: ['w'] }) as unknown as NodeStatus,
    share: async (shares?: readonly string[]) => offers(shares ?? [LAN], 'pending'),
  } as unknown as RunningNode;
  const hub = {
    network: { id: network, name: 'home', ipv4: '', ipv6: '', mtu: 1280 },
    waiting: () => waiting,
    administer: async (request: AdminRequest) => {
      asked.push(request);
      return { name: 'office', shares: offers([LAN], 'approved') };
    },
  };
  return { node: withOwnHub(node, hub, option), asked };
}

test("a share that root adds on the hub's machine is approved at once", async () => {
  const { node, asked } = world();
  assert.deepEqual(await node.share([LAN]), [{ network: LAN, state: 'approved' }]);
  assert.deepEqual(asked, [{ op: 'approve', node: '7', shares: [LAN] }]);
});

test("nothing is approved without a pending share, without a request, or by another network's hub", async () => {
  const { node, asked } = world();
  await node.share(['10.9.0.0/24']);
  assert.deepEqual(await node.share(), [{ network: LAN, state: 'pending' }]);
  const other = world('n2');
  await other.node.share([LAN]);
  assert.deepEqual([...asked, ...other.asked], []);
});

test("root on the hub's machine sees what is pending, and the command that approves it", () => {
  const waiting = [{ name: 'anna' }, { name: 'nas', shares: [LAN] }, { name: 'office', shares: [LAN] }];
  assert.deepEqual(world('n1', waiting).node.status().warnings, [
    'w',
    'anna is pending approval; to approve it, run: lametun approve anna',
    'nas wants to share 192.168.1.0/24; to approve that, run: lametun approve nas',
  ]);
  const elsewhere = world('n1', waiting.slice(0, 1), ' --state /work').node.status().warnings;
  assert.match(elsewhere.at(-1)!, /run: lametun approve --state \/work anna$/);
  const many = Array.from({ length: 40 }, (_, i) => ({ name: `n${i}` }));
  const { warnings } = world('n1', many).node.status();
  assert.equal(warnings.length, 7);
  assert.equal(warnings.at(-1), '35 more nodes are pending approval; for a list, run: lametun nodes');
});
