import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import type { PingAnswer } from './control.js';
import { nodeControl } from './node-control.js';
import type { RunningNode } from './running-node.js';

const node = (ping: RunningNode['ping']): RunningNode => ({ ping }) as unknown as RunningNode;
const answerTo = (sequence: number): PingAnswer => ({
  ...{ node: 'office', address: '10.1.0.1', sequence, rttMs: 2 },
  path: { kind: 'relayed', why: 'no answer', since: 1 },
});

test('long series of pings leave no listeners behind', async () => {
  const { signal } = new AbortController();
  const listeners: number[] = [];
  const pinged: PingAnswer[] = [];
  await nodeControl(node(async (_, sequence = 0) => answerTo(sequence)))(
    { command: 'ping', node: 'office', count: 4, interval: 100 },
    (answer) => {
      pinged.push(answer as PingAnswer);
      listeners.push(getEventListeners(signal, 'abort').length);
    },
    signal,
  );
  assert.deepEqual(
    pinged.map(({ sequence }) => sequence),
    [1, 2, 3, 4],
  );
  assert.ok(Math.max(...listeners) <= 1, `${listeners}`);
});

test('a ping ends when the other end is gone', async () => {
  const gone = new AbortController();
  const answers: object[] = [];
  const done = nodeControl(node(() => new Promise(() => {})))(
    { command: 'ping', node: 'office' },
    (answer) => void answers.push(answer),
    gone.signal,
  );
  gone.abort();
  await done;
  assert.deepEqual(answers, []);
});
