import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { needs } from '../../../tests/kit/requirements.js';
import { runProgram } from '../../linux/process/program.js';
import type { MapMessage } from '../../protocol/map.js';
import type { StoredNode } from '../machine/stored.js';
import { readStoredNode, STATE_VERSION, StateDirectory } from './state.js';

function place(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'lametun-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return join(path, 'state');
}

function opened(t: TestContext, path = place(t)): StateDirectory {
  const state = StateDirectory.open(path);
  t.after(() => state.close());
  return state;
}

const key = Buffer.alloc(32, 7).toString('base64');

const node: StoredNode = {
  network: { id: 'n1', name: 'home', ipv4: '10.77.0.0/16', ipv6: 'fd77::/64', mtu: 1280 },
  you: {
    id: 2,
    name: 'laptop',
    ipv4: '10.77.0.2',
    ipv6: 'fd77::2',
    admin: false,
    pending: false,
    shares: [],
  },
  hub: { key, addresses: [{ host: '203.0.113.5', port: 443, tls: false }], proven: [] },
  port: 41_641,
  interface: 'lametun0',
  shares: ['192.168.1.0/24'],
};

const map: MapMessage = {
  type: 'map',
  version: { epoch: 'e', revision: 3 },
  nodes: [{ id: 2, name: 'laptop', key, ipv4: '10.77.0.2', ipv6: 'fd77::2', shares: [] }],
};

test('what is written is read again, by the next process too', (t) => {
  const path = place(t);
  const first = StateDirectory.open(path);
  assert.equal(first.read('node'), undefined);
  assert.equal(first.read('map'), undefined);
  assert.equal(first.read('endpoints'), undefined);
  first.write('node', node);
  first.write('map', map);
  first.write('endpoints', [{ node: 5, at: '192.168.1.7:41641' }]);
  first.close();
  const second = opened(t, path);
  assert.deepEqual(second.read('node'), node);
  assert.deepEqual(second.read('map'), map);
  assert.deepEqual(second.read('endpoints'), [{ node: 5, at: '192.168.1.7:41641' }]);
});

test('only the owner may enter the directory and read the files', (t) => {
  const state = opened(t);
  state.write('node', node);
  state.privateKey(() => new Uint8Array(32).fill(9));
  assert.equal(lstatSync(state.path).mode & 0o777, 0o700);
  for (const name of readdirSync(state.path))
    assert.equal(lstatSync(join(state.path, name)).mode & 0o777, 0o600, name);
});

test('the private key is made once', (t) => {
  const state = opened(t);
  const made = state.privateKey(() => new Uint8Array(32).fill(9));
  assert.deepEqual(
    state.privateKey(() => assert.fail('the key exists already')),
    made,
  );
});

test('an invalid key, or one that others can read, is refused with its path', (t) => {
  const state = opened(t);
  const file = state.file('node.key');
  writeFileSync(file, 'AAAA\n', { mode: 0o600 });
  const ask = () => state.privateKey(() => assert.fail('a key exists'));
  assert.throws(ask, { code: 'state', message: /node\.key is not a private key/ });
  chmodSync(file, 0o644);
  assert.throws(ask, { code: 'state', message: /other users can read .*node\.key, .*`chmod 600/ });
});

test('a second process is refused, with the number of the first', (t) => {
  const state = opened(t);
  const script = `
    import { StateDirectory } from ${JSON.stringify(new URL('./state.js', import.meta.url).href)};
    try { StateDirectory.open(process.argv[1]); } catch ({ code, message }) { console.log(code, message); }`;
  const run = () =>
    spawnSync(process.execPath, ['--input-type=module', '-e', script, state.path], { encoding: 'utf8' });
  assert.match(run().stdout, new RegExp(`^busy .*${state.path}.* process ${process.pid} `));
  state.close();
  assert.equal(run().stdout, '');
});

test('errors name damaged and foreign files', (t) => {
  const state = opened(t);
  const broken = ['', 'not JSON', '{}', '[]', 'null', '{"network":{}}', JSON.stringify({ ...node, port: 0 })];
  for (const text of broken) {
    writeFileSync(state.file('node.json'), text);
    assert.throws(
      () => state.read('node'),
      { code: 'state', message: /node\.json is damaged.*: restore the right file, or/ },
      text,
    );
  }
  for (const text of ['x', '{}', '{"type":"removed"}', JSON.stringify({ ...map, nodes: [{}] })]) {
    writeFileSync(state.file('map.json'), text);
    assert.throws(() => state.read('map'), { code: 'state', message: /map\.json is damaged[^:]*\)$/ }, text);
  }
  writeFileSync(state.file('endpoints.json'), '[{"node":5,"at":7}]');
  assert.throws(() => state.read('endpoints'), { code: 'state', message: /endpoints\.json is damaged/ });
});

test('a directory with other files is left alone', (t) => {
  const path = place(t);
  mkdirSync(path, { mode: 0o755 });
  writeFileSync(join(path, 'diary'), '');
  assert.throws(() => StateDirectory.open(path), { code: 'usage', message: /holds other files/ });
  assert.equal(lstatSync(path).mode & 0o777, 0o755);
  assert.deepEqual(readdirSync(path), ['diary']);
});

test('an empty directory is used, and closed to others', (t) => {
  const path = place(t);
  mkdirSync(path, { mode: 0o755 });
  opened(t, path);
  assert.equal(lstatSync(path).mode & 0o777, 0o700);
});

test('a path that is not a directory is refused', (t) => {
  const path = place(t);
  writeFileSync(path, '');
  assert.throws(() => StateDirectory.open(path), { code: 'usage', message: /is not a directory/ });
});

test('a write that fails leaves the old file', (t) => {
  const state = opened(t);
  state.write('node', node);
  mkdirSync(state.file('node.json.new'));
  assert.throws(() => state.write('node', { ...node, port: 1 }), { code: 'state', message: /node\.json/ });
  assert.deepEqual(state.read('node'), node);
});

test('a full disk is not a usage error, and leaves the old file', (t) => {
  if (!needs(t, 'root')) return;
  const path = mkdtempSync(join(tmpdir(), 'lametun-disk-'));
  runProgram('mount', ['-t', 'tmpfs', '-o', 'size=32k,mode=700', 'none', path]);
  const state = StateDirectory.open(path);
  t.after(() => {
    state.close();
    runProgram('umount', ['-l', path]);
    rmSync(path, { recursive: true });
  });
  state.write('node', node);
  assert.throws(() => writeFileSync(state.file('filler'), Buffer.alloc(65_536)), { code: 'ENOSPC' });
  assert.throws(() => state.write('node', { ...node, port: 1 }), {
    code: 'state',
    message: /the disk is full/,
  });
  assert.deepEqual(state.read('node'), node);
});

test('leaving removes the node’s files and key, and keeps the hub’s', (t) => {
  const state = opened(t);
  state.write('node', node);
  state.write('map', map);
  state.write('endpoints', []);
  state.privateKey(() => new Uint8Array(32).fill(9));
  writeFileSync(state.file('hub.key'), 'x');
  state.forgetNode();
  assert.deepEqual(readdirSync(state.path).sort(), ['hub.key', 'lock', 'state.json']);
  assert.ok(existsSync(state.path));
});

test('a node is set aside completely, readable by its owner only, and beside earlier ones', (t) => {
  const state = opened(t);
  const asides = [1, 2].map((n) => {
    state.write('node', { ...node, port: n });
    state.privateKey(() => new Uint8Array(32).fill(n));
    return state.setNodeAside('removed');
  });
  assert.match(asides.join(' '), /\/removed-(\d{4}-\d\d-\d\d) .*\/removed-\1-2$/);
  assert.equal(state.read('node'), undefined);
  for (const [i, aside] of asides.entries()) {
    assert.equal(lstatSync(aside).mode & 0o777, 0o700);
    assert.equal(JSON.parse(readFileSync(join(aside, 'node.json'), 'utf8')).port, i + 1);
    const key = Buffer.alloc(32, i + 1).toString('base64');
    assert.equal(readFileSync(join(aside, 'node.key'), 'utf8'), `${key}\n`);
  }
});

test('a member without its key is refused, and gets no new one', (t) => {
  const state = opened(t);
  state.write('node', node);
  assert.throws(() => state.privateKey(undefined), { code: 'state', message: /node.key is missing/ });
  assert.deepEqual(readdirSync(state.path).sort(), ['lock', 'node.json', 'state.json']);
});

test('the directory says which lametun wrote it last, and one without that is of the first', (t) => {
  const path = place(t);
  const file = join(path, 'state.json');
  const run = (program?: string): unknown => {
    StateDirectory.open(path, program).close();
    return JSON.parse(readFileSync(file, 'utf8'));
  };
  assert.deepEqual(run('lametun 0.1.0'), { version: STATE_VERSION, program: 'lametun 0.1.0' });
  assert.deepEqual(run(), { version: STATE_VERSION, program: 'lametun 0.1.0' });
  assert.deepEqual(run('lametun 0.1.1'), { version: STATE_VERSION, program: 'lametun 0.1.1' });
  rmSync(file);
  assert.deepEqual(run('lametun 0.1.1'), { version: STATE_VERSION, program: 'lametun 0.1.1' });
});

test('a directory of a newer lametun is refused, and no byte in it changes', (t) => {
  const path = place(t);
  const state = StateDirectory.open(path, 'lametun 0.1.0');
  state.write('node', node);
  state.close();
  writeFileSync(join(path, 'lock'), '1\n'); // of an earlier process
  const contents = () => readdirSync(path).map((name) => [name, readFileSync(join(path, name), 'utf8')]);
  const newer = { version: STATE_VERSION + 1, program: 'lametun 0.2.0', more: true };
  writeFileSync(join(path, 'state.json'), JSON.stringify(newer));
  writeFileSync(join(path, 'node.json'), '{"of":"another format"}');
  const before = contents();
  const refusal = {
    code: 'state',
    message: `${path} was written by lametun 0.2.0 (${path}/state.json: version 2 of the state, this lametun knows 1): install that version or a newer one, or restore a copy of ${path} from before the update`,
  };
  assert.throws(() => StateDirectory.open(path, 'lametun 0.1.0'), refusal);
  assert.throws(() => readStoredNode(path), refusal);
  assert.deepEqual(contents(), before);
  writeFileSync(join(path, 'state.json'), '{"version":"two"}');
  assert.throws(() => StateDirectory.open(path), {
    code: 'state',
    message: /state\.json is damaged.*remove it$/,
  });
});
