import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readHubSettings, writeHubSettings } from './hub-settings.js';

test('the options of a hub are stored, readable only by their owner', (t) => {
  const state = mkdtempSync(join(tmpdir(), 'lametun-settings-'));
  t.after(() => rmSync(state, { recursive: true }));
  const settings = { port: 4443, public: ['hub.example.org'], network: 'home', ask: true };
  writeHubSettings(state, settings);
  assert.equal(statSync(join(state, 'hub.json')).mode & 0o777, 0o600);
  assert.deepEqual(readHubSettings(state), settings);
});
