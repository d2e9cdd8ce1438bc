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

/** Longer than the interval between two checks. */
const CHECK = 2_300;

test('a sleep is reported once, because the machine may be elsewhere', async (t) => {
  const { seen } = watched(t);
  seen.slept += 2_000; // clocks are not that exact
  await sleep(CHECK);
  assert.equal(seen.changes, 0);
  seen.slept += 60_000;
  await sleep(CHECK);
  assert.equal(seen.changes, 1);
  await sleep(CHECK);
  assert.equal(seen.changes, 1);
});

test('a hub without a route does not end the node', async (t) => {
  const { seen, surroundings } = watched(t);
  surroundings.setHub(Uint8Array.of(240, 0, 0, 1));
  surroundings.setHub(new Uint8Array(5)); // not an address
  await sleep(CHECK);
  assert.equal(seen.changes, 0);
});
