import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { mapNode, NETWORK } from '../../../tests/kit/small-hub.js';
import { NetworkMap, NO_VERSION } from '../../protocol/map.js';
import type { MapNode } from '../../protocol/messages.js';
import { StateDirectory } from '../shell/state.js';
import { Keeper } from './keeper.js';
import { KnownNames } from './known-names.js';
import { MemberChecks } from './members.js';
import type { Paths } from './paths/paths.js';

test('where something was refused, all of the map is asked for after a restart: what is stored is not what the hub said', (t) => {
  const path = mkdtempSync(join(tmpdir(), 'lametun-keeper-'));
  t.after(() => rmSync(path, { recursive: true }));
  const state = StateDirectory.open(path);
  t.after(() => state.close());
  const map = new NetworkMap();
  const checks = new MemberChecks(NETWORK, mapNode(1));
  const paths = { lastEndpoint: () => undefined } as unknown as Paths;
  const log = { isVerbose: false, verbose: () => {}, error: assert.fail };
  const keeper = new Keeper({ state, map, checks, known: new KnownNames(), paths, log });
  const say = (revision: number, node: MapNode): void => {
    checks.apply(map.applyMap({ type: 'map', version: { epoch: 'e', revision }, nodes: [node] }));
    keeper.mapChanged();
    keeper.save();
  };
  const right = mapNode(2);
  say(1, right);
  assert.deepEqual(state.readMap(), { type: 'map', version: { epoch: 'e', revision: 1 }, nodes: [right] });
  say(2, { ...right, key: mapNode(3).key });
  assert.deepEqual(state.readMap(), { type: 'map', version: NO_VERSION, nodes: [right] });
  say(3, right);
  assert.deepEqual(state.readMap()?.version, { epoch: 'e', revision: 3 });
});
