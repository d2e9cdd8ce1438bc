import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LametunError } from '../errors.js';
import { fetchDrops } from './drops.js';

/** A socket that hears one request and gives one answer. @returns its path, and what was asked */
async function daemon(t: TestContext, answer: string): Promise<{ path: string; asked: string[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'drops-'));
  const path = join(folder, 'wg0.sock');
  const asked: string[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('data', (chunk) => asked.push(String(chunk)));
    socket.on('end', () => socket.end(answer));
  }).listen(path);
  t.after(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  await once(server, 'listening');
  return { path, asked };
}

const isMissing = (pattern: RegExp) => (error: unknown) =>
  error instanceof LametunError && error.code === 'missing' && pattern.test(error.message);

test('drop counters are listed with the most frequent first', async (t) => {
  const { path, asked } = await daemon(t, 'bad-mac1=2\nmalformed=17\nerrno=0\n\n');
  assert.equal(await fetchDrops('wg0', path), 'malformed  17\nbad-mac1   2\n');
  assert.deepEqual(asked, ['get=drops\n\n']);
});

test('a device that has dropped nothing shows nothing', async (t) => {
  const { path } = await daemon(t, 'errno=0\n\n');
  assert.equal(await fetchDrops('wg0', path), '');
});

test('another program, which closes the connection at an unknown request, is told apart', async (t) => {
  const { path } = await daemon(t, '');
  await assert.rejects(fetchDrops('wg0', path), isMissing(/not run by lametund/));
});

test('an interface that nobody runs is a clear message', async () => {
  await assert.rejects(fetchDrops('wg7', '/nonexistent/wg7.sock'), isMissing(/^wg7: no program runs/));
});
