import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mapNode, NETWORK } from '../../../tests/kit/small-hub.js';
import { NetworkMap, NO_VERSION } from '../../protocol/map.js';
import type { MapNode } from '../../protocol/messages.js';
import type { StoreCommand } from './commands.js';
import { Keeper } from './keeper.js';
import { KnownNames } from './known-names.js';
import { MemberChecks } from './members.js';

/** A keeper, and what it has stored. */
function keeping() {
  const stored: StoreCommand[] = [];
  const map = new NetworkMap();
  const checks = new MemberChecks(NETWORK, mapNode(1));
  const known = new KnownNames();
  const paths = { lastEndpoint: () => undefined, active: () => [] };
  const keeper = new Keeper({ map, checks, known, paths, push: (command) => stored.push(command) });
  const say = (revision: number, node: MapNode): void => {
    checks.apply(map.applyMap({ type: 'map', version: { epoch: 'e', revision }, nodes: [node] }));
    keeper.mapChanged(revision * 10_000);
  };
  const maps = () => stored.flatMap((command) => (command.file === 'map' ? command.value : []));
  return { keeper, known, say, maps, stored };
}

test('a map with a refused change is stored without its version, so that a restart requests the whole map', () => {
  const { keeper, say, maps } = keeping();
  const right = mapNode(2);
  const versionOf = (revision: number, node: MapNode) => {
    say(revision, node);
    keeper.save();
    return maps().at(-1);
  };
  assert.deepEqual(versionOf(1, right), {
    type: 'map',
    version: { epoch: 'e', revision: 1 },
    nodes: [right],
  });
  const refused = versionOf(2, { ...right, key: mapNode(3).key });
  assert.deepEqual(refused, { type: 'map', version: NO_VERSION, nodes: [right] });
  assert.deepEqual(versionOf(3, right)?.version, { epoch: 'e', revision: 3 });
});

test('changes within a second are written once, and a failed write is repeated', () => {
  const { keeper, known, say, maps, stored } = keeping();
  say(1, mapNode(2));
  known.meet('node2', mapNode(2).key, 0);
  assert.equal(keeper.nextTimeout(), 11_000);
  keeper.pathsChanged(10_500);
  assert.equal(keeper.nextTimeout(), 11_000);
  keeper.handleTimeout(10_999);
  assert.equal(maps().length, 0);
  keeper.handleTimeout(11_000);
  assert.deepEqual(
    stored.map(({ file }) => file),
    ['map', 'names', 'endpoints'],
  );
  assert.equal(keeper.nextTimeout(), Infinity);
  keeper.save();
  assert.equal(stored.length, 3, 'nothing has changed');
  for (const { file } of [...stored]) keeper.handleNotStored(file);
  keeper.save();
  assert.equal(stored.length, 6);
});
