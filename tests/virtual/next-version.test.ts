import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PROTOCOL_VERSIONS } from '../../src/protocol/messages.js';
import type { NodeHost } from '../kit/virtual/node-host.js';
import { World } from '../kit/virtual/world.js';

const NEWEST = Math.max(...PROTOCOL_VERSIONS);
/** What the next minor version speaks. */
const NEXT = [NEWEST, NEWEST + 1];

/** A network in which the hub and the nodes speak these versions. */
async function network(hub: readonly number[], ...nodes: readonly (readonly number[])[]) {
  const world = new World(1, { speaks: hub });
  await world.start();
  const members = nodes.map((speaks) => world.node(world.site(['easy']), [], speaks));
  for (const node of members) world.join(node);
  await world.runFor(20_000);
  return { world, members };
}

/** Each member sends a packet to each other one. */
async function assertReachable(world: World, members: readonly NodeHost[]): Promise<void> {
  const pairs = members
    .flatMap((from) => members.map((to) => ({ from, to })))
    .filter(({ from, to }) => from !== to);
  const sent = pairs.map(({ from, to }) => ({ from, to, sequence: from.interface.ask(to.id!) }));
  await world.runFor(5_000);
  for (const { from, to, sequence } of sent)
    assert.ok(from.interface.answers.has(sequence), `${from.name} reaches ${to.name}`);
}

for (const [what, hub, first, second] of [
  ['hub', NEXT, PROTOCOL_VERSIONS, PROTOCOL_VERSIONS],
  ['nodes', PROTOCOL_VERSIONS, NEXT, NEXT],
  ['hub and one node', NEXT, NEXT, PROTOCOL_VERSIONS],
] as const)
  test(`with the next version on the ${what}, nodes join, reach each other, and hear of changes`, async () => {
    const { world, members } = await network(hub, first, second);
    for (const node of members) assert.ok(node.isAttached, `${node.name}: ${node.hubState}`);
    const isBothNext = (speaks: readonly number[]) => hub === NEXT && speaks === NEXT;
    const expected = [first, second].map((speaks) => (isBothNext(speaks) ? NEWEST + 1 : NEWEST));
    assert.deepEqual(new Set(world.hub.agreed), new Set(expected));
    await assertReachable(world, members);
    const [a, b] = members as [NodeHost, NodeHost];
    await world.hub.administer({ op: 'rename', node: a.name, name: 'renamed' });
    await world.runFor(5_000);
    assert.ok(b.names.some(({ name }) => name === 'renamed'));
    world.hub.stop(true);
    await world.hub.start();
    await world.runFor(60_000);
    for (const node of members) assert.ok(node.isAttached, `${node.name}: ${node.hubState}`);
  });

test('a member without a common version keeps its tunnels, says which side to update, and comes back', async () => {
  const { world, members } = await network(PROTOCOL_VERSIONS, PROTOCOL_VERSIONS, PROTOCOL_VERSIONS);
  await assertReachable(world, members);
  const restart = async (speaks: readonly number[]) => {
    world.hub.stop(true);
    world.hub.speaks = speaks;
    await world.hub.start();
    await world.runFor(60_000);
  };
  await restart([NEWEST + 1]);
  assert.deepEqual(new Set(world.hub.agreed), new Set([undefined]));
  for (const node of members) assert.match(node.hubState, /\(protocol .*update lametun on this machine$/);
  await assertReachable(world, members);
  await restart(NEXT);
  for (const node of members) assert.ok(node.isAttached, `${node.name}: ${node.hubState}`);
});
