import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readHubSettings, settingsFor, writeHubSettings } from './hub-settings.js';

test('a hub that is started again is as it was, but for what is said anew', (t) => {
  const state = mkdtempSync(join(tmpdir(), 'lametun-settings-'));
  t.after(() => rmSync(state, { recursive: true }));
  assert.deepEqual(settingsFor(state, { ask: undefined }, 443), { port: 443, public: [] });
  const first = {
    port: 4443,
    public: ['hub.example.org'],
    network: 'home',
    ask: true,
    database: 'postgres://h/d',
  };
  writeHubSettings(state, first);
  assert.equal(statSync(join(state, 'hub.json')).mode & 0o777, 0o600);
  assert.deepEqual(readHubSettings(state), first);
  const again = { port: undefined, public: undefined, ask: undefined };
  assert.deepEqual(settingsFor(state, again, 443), first);
  assert.deepEqual(settingsFor(state, { ...again, ask: false, port: 443 }, 1), {
    ...{ ...first, port: 443, ask: false },
  });
});
