import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ControlHandler } from '../../node/control/control-connection.js';
import { serveControl } from '../../node/control/control-server.js';
import { packageVersion } from '../package-version.js';
import { candidates } from './complete.js';

/** A state directory, on which a process answers like this. */
async function directory(t: TestContext, handle?: ControlHandler): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-complete-'));
  t.after(() => rmSync(folder, { recursive: true }));
  if (handle === undefined) return folder;
  const server = await serveControl(folder, handle, packageVersion());
  t.after(() => server.close());
  return folder;
}

const NEVER = new AbortController().signal;

const row = (name: string, pending: boolean, share?: 'approved' | 'pending') => ({
  ...{ name, pending, offered: share === undefined ? [] : [{ network: '10.9.0.0/24', state: share }] },
});
const ANSWERS = {
  status: {
    peers: [{ name: 'anna' }, { name: '$(touch x)' }, { name: '-x' }, { name: 'a\nb' }, { name: 'bert' }],
  },
  nodes: {
    nodes: [
      row('anna', false),
      row('bert', true),
      row('cleo', false, 'pending'),
      row('dora', false, 'approved'),
    ],
  },
  invites: {
    invites: [
      { id: '7a', state: 'open' },
      { id: '7b', state: 'used' },
    ],
  },
};

test('each command gets the words that it can use, and none with a character that means something to a shell', async (t) => {
  const state = await directory(t, async (request, answer) => {
    const asked = request.command === 'admin' ? request.request.op : request.command;
    answer(ANSWERS[asked as keyof typeof ANSWERS]);
  });
  const expected = {
    ping: ['anna', 'bert'],
    trust: ['anna', 'bert'],
    approve: ['bert', 'cleo'],
    rename: ['anna', 'bert', 'cleo', 'dora'],
    remove: ['anna', 'bert', 'cleo', 'dora'],
    revoke: ['7a'],
    status: [],
    constructor: [],
  };
  for (const [command, words] of Object.entries(expected))
    assert.deepEqual(await candidates(command, state, NEVER), words, command);
});

test('`lametun complete` prints nothing when nothing runs, or the process does not answer', async (t) => {
  const silent = await directory(t, async (_request, _answer, signal) => {
    await once(signal, 'abort');
  });
  for (const state of [await directory(t), silent]) {
    const main = fileURLToPath(new URL('../main.js', import.meta.url));
    const child = spawn(process.execPath, [main, 'complete', 'ping', '--state', state]);
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += String(text)));
    const [status] = await once(child, 'close');
    assert.deepEqual([status, said], [0, '']);
  }
});
