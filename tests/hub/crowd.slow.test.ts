import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Crowd } from '../crowd/crowd.js';
import { Guest } from '../crowd/guest.js';

const NODES = 200;

test('two hundred nodes learn of every change, and reconnect to a killed hub', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'lametun-crowd-'));
  t.after(() => rmSync(state, { recursive: true }));
  const crowd = await Crowd.start({ processes: 2, state, most: NODES });
  t.after(() => crowd.close());
  await crowd.join(NODES);

  const spread = async (change: () => Promise<unknown>): Promise<void> => {
    const { reached } = await crowd.spread(change);
    assert.equal(reached.length, NODES);
  };
  let guest: Guest | undefined;
  t.after(() => guest?.close());
  let id = '';
  await spread(async () => {
    guest = new Guest(crowd.token, 'guest');
    id = await guest.joined();
  });
  await guest!.share('172.16.1.0/24');
  await spread(() => crowd.administer({ op: 'approve', node: id }));

  for (const forget of [false, true]) {
    const back = await crowd.killHub(forget);
    assert.equal(back.attached.length, NODES);
    assert.ok(back.attached.every((at) => at > back.killed));
    assert.ok(
      back.current.every((at, i) => at >= back.attached[i]!),
      'a map, or what has changed, follows',
    );
    t.diagnostic(`all back after ${Math.round(Math.max(...back.current) - back.started)} ms`);
  }
  await spread(() => crowd.administer({ op: 'remove', node: id }));
});
