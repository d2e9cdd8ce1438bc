import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type DeltaMessage, NetworkMap } from './map.js';
import type { MapNode } from './messages.js';

const node = (id: number, change: Partial<MapNode> = {}): MapNode => ({
  id,
  name: `n${id}`,
  key: 'k',
  ipv4: `10.0.0.${id}`,
  ipv6: `fd00::${id}`,
  shares: [],
  ...change,
});
const version = (revision: number, epoch = 'e') => ({ epoch, revision });
const delta = (from: number, to: number, rest: Partial<DeltaMessage> = {}): DeltaMessage => ({
  type: 'delta',
  from,
  version: version(to),
  nodes: [],
  removed: [],
  ...rest,
});

test('a delta lists added, changed and removed nodes, and no others', () => {
  const map = new NetworkMap();
  assert.deepEqual(map.applyMap({ type: 'map', version: version(3), nodes: [node(1), node(2), node(3)] }), {
    added: [node(1), node(2), node(3)],
    changed: [],
    removed: [],
  });
  const renamed = node(2, { name: 'other' });
  const change = map.applyDelta(delta(3, 5, { nodes: [node(1), renamed, node(4)], removed: [3, 99] }));
  assert.deepEqual(change, { added: [node(4)], changed: [renamed], removed: [node(3)] });
  assert.deepEqual(map.version, version(5));
});

test('a delta for another network or epoch, a backward one, or one before any map changes nothing', () => {
  const map = new NetworkMap();
  assert.equal(map.applyDelta(delta(0, 1)), 'resync');
  map.applyMap({ type: 'map', version: version(3), nodes: [node(1)] });
  for (const wrong of [
    delta(2, 4, { removed: [1] }),
    delta(4, 5, { removed: [1] }),
    delta(3, 2, { removed: [1] }),
    { ...delta(3, 4, { removed: [1] }), version: version(4, 'restored') },
  ]) {
    assert.equal(map.applyDelta(wrong), 'resync');
    assert.deepEqual([map.version, map.size], [version(3), 1]);
  }
});

test('every differing field is a change', () => {
  const map = new NetworkMap();
  const changes: Partial<MapNode>[] = [
    { name: 'x' },
    { key: 'x' },
    { ipv4: '10.9.9.9' },
    { ipv6: 'fd00::99' },
    { shares: ['10.7.0.0/16'] },
    { shares: ['10.8.0.0/16'] },
  ];
  map.applyMap({ type: 'map', version: version(0), nodes: [node(1)] });
  for (const [i, change] of changes.entries()) {
    const done = map.applyDelta(delta(i, i + 1, { nodes: [node(1, change)] }));
    assert.deepEqual(done, { added: [], changed: [node(1, change)], removed: [] });
  }
});

/** The hub's rows, with the revision of each row's last change, including tombstones. */
class Rows {
  revision = 0;
  readonly rows = new Map<number, { node: MapNode | undefined; revision: number }>();

  change(id: number, name: string | undefined): void {
    this.rows.set(id, {
      node: name === undefined ? undefined : node(id, { name }),
      revision: ++this.revision,
    });
  }

  nodes(): MapNode[] {
    return [...this.rows.values()].flatMap(({ node }) => node ?? []);
  }

  since(from: number): DeltaMessage {
    const rows = [...this.rows].filter(([, { revision }]) => revision > from);
    return delta(from, this.revision, {
      nodes: rows.flatMap(([, { node }]) => node ?? []),
      removed: rows.filter(([, { node }]) => node === undefined).map(([id]) => id),
    });
  }
}

test('deltas of any size lead to the same map as the full map', () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.tuple(fc.integer({ min: 1, max: 8 }), fc.constantFrom('a', 'b', undefined)) },
    { weight: 1, arbitrary: fc.constant('tell' as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const hub = new Rows();
      const follower = new NetworkMap();
      follower.applyMap({ type: 'map', version: version(0), nodes: [] });
      for (const each of [...steps, 'tell' as const]) {
        if (each !== 'tell') {
          hub.change(...each);
          continue;
        }
        const before = new Map([...follower.nodes()].map((n) => [n.id, n]));
        const change = follower.applyDelta(hub.since(follower.version!.revision));
        assert.notEqual(change, 'resync');
        if (change === 'resync') continue;
        // The reported changes are the actual changes.
        for (const { id } of change.removed) assert.ok(before.delete(id));
        for (const added of change.added) assert.ok(!before.has(added.id));
        for (const changed of change.changed) assert.ok(before.has(changed.id));
        for (const put of [...change.added, ...change.changed]) before.set(put.id, put);
        assert.deepEqual(byId(before.values()), byId(follower.nodes()));
      }
      const whole = new NetworkMap();
      whole.applyMap({ type: 'map', version: version(hub.revision), nodes: hub.nodes() });
      assert.deepEqual(byId(follower.nodes()), byId(whole.nodes()));
      assert.deepEqual(follower.version, whole.version);
    }),
  );
});

const byId = (nodes: Iterable<MapNode>): MapNode[] => [...nodes].sort((a, b) => a.id - b.id);
