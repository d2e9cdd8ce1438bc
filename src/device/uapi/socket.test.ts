import assert from 'node:assert/strict';
import { lstatSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { until } from '../../../tests/kit/wait.js';
import { watchRemoval } from './socket.js';

/** A file in place of the socket, and how often its removal was reported. */
function watched(
  t: TestContext,
  before: (path: string) => void = () => {},
): { path: string; reports: number } {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-uapi-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'wg0.sock');
  writeFileSync(path, '');
  const { ino } = lstatSync(path);
  before(path);
  const state = { path, reports: 0 };
  const watch = watchRemoval(path, ino, () => {
    state.reports++;
  });
  t.after(() => watch.close());
  return state;
}

test('the removal of the socket is reported once', async (t) => {
  const state = watched(t);
  assert.equal(state.reports, 0);
  rmSync(state.path);
  await until('the report', () => state.reports > 0);
  writeFileSync(state.path, '');
  let toldAnother = false;
  const another = watchRemoval(state.path, lstatSync(state.path).ino, () => {
    toldAnother = true;
  });
  t.after(() => another.close());
  rmSync(state.path);
  await until('the report of another watcher', () => toldAnother);
  assert.equal(state.reports, 1);
});

test('a socket that was removed or replaced before the watch starts is reported at once', (t) => {
  assert.equal(watched(t, (path) => rmSync(path)).reports, 1);
  const replace = (path: string): void => {
    writeFileSync(`${path}.new`, '');
    renameSync(`${path}.new`, path);
  };
  assert.equal(watched(t, replace).reports, 1);
});
