import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Console } from './console.js';

test('a log has a size limit, and the last lines are in it or in the previous log', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-log-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'lametun.log');
  const output = new Console(false);
  output.toFile(file);
  const line = 'x'.repeat(64 << 10);
  for (let i = 0; i < 100; i++) output.note(`${i} ${line}`);
  assert.deepEqual(readdirSync(folder).sort(), ['lametun.log', 'lametun.log.1']);
  for (const name of readdirSync(folder))
    assert.ok(statSync(join(folder, name)).size < 1.2 * (1 << 20), name);
  const said = readFileSync(`${file}.1`, 'utf8') + readFileSync(file, 'utf8');
  for (let i = 84; i < 100; i++) assert.match(said, new RegExp(`Z ${i} x`), `line ${i}`);
});
