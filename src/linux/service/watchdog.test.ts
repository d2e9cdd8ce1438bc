import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServiceManager } from './service-manager.js';
import { feedWatchdog } from './watchdog.js';

test('the manager hears four times in its interval while all workers respond, and nothing else', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let [signs, respond] = [0, true];
  const manager = { watchdogInterval: 1000, watchdog: () => void signs++ } as unknown as ServiceManager;
  const feeding = feedWatchdog(manager, () => respond);
  t.mock.timers.tick(1000);
  assert.equal(signs, 4);
  respond = false;
  t.mock.timers.tick(5000);
  assert.equal(signs, 4);
  respond = true;
  t.mock.timers.tick(250);
  assert.equal(signs, 5);
  feeding.close();
  t.mock.timers.tick(5000);
  assert.equal(signs, 5);
});

test('without a watchdog, nothing is said', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const manager = { watchdogInterval: undefined, watchdog: () => assert.fail() } as unknown as ServiceManager;
  feedWatchdog(manager, () => true);
  t.mock.timers.tick(100_000);
});
