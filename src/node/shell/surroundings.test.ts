import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Surroundings } from './surroundings.js';

function watched(t: TestContext) {
  const seen = { slept: 500, changes: 0 };
  const surroundings = new Surroundings({
    device: 'none',
    onChange: () => seen.changes++,
    slept: () => seen.slept,
  });
  t.after(() => surroundings.close());
  return { seen, surroundings };
}

/** As often as is looked, and a little more. */
const LOOK = 2_300;

test('a machine that has slept may be elsewhere, and is looked after once', async (t) => {
  const { seen } = watched(t);
  seen.slept += 2_000; // clocks are not that exact
  await sleep(LOOK);
  assert.equal(seen.changes, 0);
  seen.slept += 60_000;
  await sleep(LOOK);
  assert.equal(seen.changes, 1);
  await sleep(LOOK);
  assert.equal(seen.changes, 1);
});

test('a hub for which the kernel has no route is no reason to end', async (t) => {
  const { seen, surroundings } = watched(t);
  surroundings.setHub(Uint8Array.of(240, 0, 0, 1));
  surroundings.setHub(new Uint8Array(5)); // which is no address at all
  await sleep(LOOK);
  assert.equal(seen.changes, 0);
});
