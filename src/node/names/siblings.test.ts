import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { needs } from '../../../tests/kit/requirements.js';
import { parseCidr } from '../../ip/cidr.js';
import { holdOpenFile } from '../../linux/files/file-lock.js';
import { Siblings } from './siblings.js';

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'lametun-siblings-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

function begin(t: TestContext, directory: string, network: string, net: string): Siblings {
  const announcement = {
    network,
    ranges: [parseCidr(`${net}.0.0/16`)!],
    address: `${net}.0.2`,
    device: `lt-${network}`,
  };
  const siblings = new Siblings(announcement, directory);
  t.after(() => siblings.close());
  return siblings;
}

/** Writes a file as a node does, and holds it while the test runs. */
function plant(t: TestContext, directory: string, name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text, { mode: 0o600 });
  const fd = openSync(path, 'r+');
  assert.ok(holdOpenFile(fd));
  t.after(() => closeSync(fd));
  return path;
}

test('running networks on a machine know where names of the others are answered', (t) => {
  if (!needs(t, 'root')) return;
  const directory = folder(t);
  const home = begin(t, directory, 'home', '10.7');
  const work = begin(t, directory, 'Work', '10.8');
  assert.deepEqual(
    home.others().map(({ address, device, domain }) => [address, device, domain]),
    [['10.8.0.2', 'lt-Work', 'work.lametun']],
  );
  assert.deepEqual(
    [home.domains(), work.domains()],
    [
      ['home.lametun', 'work.lametun'],
      ['home.lametun', 'work.lametun'],
    ],
  );
  for (const name of ['printer.work.lametun', 'WORK.lametun', '9.0.8.10.in-addr.arpa']) {
    assert.deepEqual(home.answering(name), ['10.8.0.2'], name);
  }
  for (const name of ['office.home.lametun', 'xwork.lametun', '9.0.9.10.in-addr.arpa', 'example.com', '']) {
    assert.deepEqual(home.answering(name), [], name);
  }
  work.close();
  work.close();
  assert.deepEqual([home.others(), home.domains()], [[], ['home.lametun']]);
});

test('files without a lock, files that others can write, and files that are not announcements are ignored', (t) => {
  if (!needs(t, 'root')) return;
  const directory = folder(t);
  const other = folder(t);
  const real = begin(t, other, 'work', '10.8');
  const [file] = readdirSync(other);
  const good = readFileSync(join(other, file!), 'utf8');
  const home = begin(t, directory, 'home', '10.7');
  const count = (): number => home.others().length;
  rmSync(plant(t, directory, 'good.json', good));
  assert.equal(count(), 0);

  const path = plant(t, directory, 'a.json', good);
  assert.equal(count(), 1, 'this is how one looks that counts');
  for (const mode of [0o620, 0o602]) {
    chmodSync(path, mode);
    assert.equal(count(), 0);
  }
  chmodSync(path, 0o600);
  chownSync(path, 1000, 1000);
  assert.equal(count(), 0);
  chownSync(path, 0, 0);
  chmodSync(directory, 0o777);
  assert.equal(count(), 0);
  chmodSync(directory, 0o700);
  assert.equal(count(), 1);
  const outside = join(folder(t), 'b');
  linkSync(path, outside);
  rmSync(path);
  symlinkSync(outside, path);
  assert.equal(count(), 0, 'a link');
  rmSync(path);

  writeFileSync(join(directory, 'stale.json'), good, { mode: 0o600 });
  spawnSync('mkfifo', [join(directory, 'fifo.json')]);
  const change = (more: object): string => JSON.stringify({ ...JSON.parse(good), ...more });
  const bad = [
    ...['', 'null', '{}', '[]', '7', good.slice(0, -1), good.padEnd(5000)],
    change({ netns: 1 }),
    change({ address: '10.7.0.2' }), // this node itself
    ...[undefined, 'fe80::1', 'example.com', 7].map((address) => change({ address })),
    ...[undefined, 'a.b', 'two words', 'line\nnameserver 6.6.6.6', ''].map((network) => change({ network })),
    ...[undefined, 7, [7]].map((ranges) => change({ ranges })),
    change({ since: 'now' }),
  ];
  for (const [i, text] of bad.entries()) plant(t, directory, `bad${i}.json`, text);
  assert.deepEqual(home.others(), []);
  real.close();
});

test('the next node removes the files of dead ones', (t) => {
  if (!needs(t, 'root')) return;
  const directory = folder(t);
  writeFileSync(join(directory, 'dead.json'), '{}', { mode: 0o600 });
  writeFileSync(join(directory, 'half.json.new'), '{', { mode: 0o600 });
  begin(t, directory, 'home', '10.7');
  assert.equal(readdirSync(directory).length, 1);
});

test('a node stops even if it cannot remove its file', (t) => {
  if (!needs(t, 'root')) return;
  const directory = folder(t);
  const home = begin(t, directory, 'home', '10.7');
  const work = begin(t, directory, 'work', '10.8');
  const [file] = readdirSync(directory).filter((name) =>
    readFileSync(join(directory, name), 'utf8').includes('"work"'),
  );
  rmSync(join(directory, file!));
  mkdirSync(join(directory, file!)); // as undeletable as a file on a read-only file system
  work.close();
  assert.deepEqual(home.others(), []);
});
