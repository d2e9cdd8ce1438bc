import assert from 'node:assert/strict';
import fs, {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { needs } from '../../../tests/kit/requirements.js';
import { runProgram } from '../process/program.js';
import {
  createFile,
  openOutput,
  openOwnFile,
  privateDirectory,
  readOwnFile,
  replaceFile,
  safeDirectory,
} from './safe-files.js';

const STRANGER = 65_534;

function folder(t: TestContext, mode = 0o755): string {
  const path = mkdtempSync(join(tmpdir(), 'lametun-safe-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  chmodSync(path, mode);
  return path;
}

const modeOf = (path: string): number => lstatSync(path).mode & 0o7777;

test('directories are created for this user only, and links in safe directories are followed', (t) => {
  const base = folder(t);
  assert.equal(safeDirectory(join(base, 'a/b')), join(base, 'a/b'));
  assert.deepEqual([modeOf(join(base, 'a')), modeOf(join(base, 'a/b'))], [0o700, 0o700]);
  symlinkSync('a/../a', join(base, 'relative'));
  symlinkSync(join(base, 'relative'), join(base, 'absolute'));
  assert.equal(safeDirectory(join(base, 'absolute/b/../c')), join(base, 'a/c'));
  symlinkSync('loop', join(base, 'loop'));
  assert.throws(() => safeDirectory(join(base, 'loop')), {
    code: 'usage',
    message: /too many symbolic links/,
  });
  writeFileSync(join(base, 'file'), '');
  assert.throws(() => safeDirectory(join(base, 'file/x')), {
    code: 'usage',
    message: /file is not a directory/,
  });
});

test('a directory in which others can rename files is refused, one like /tmp is not', (t) => {
  for (const [mode, safe] of [
    [0o777, false],
    [0o775, false],
    [0o1777, true],
    [0o755, true],
  ] as const) {
    const open = folder(t, mode);
    const path = join(open, 'state');
    if (safe) privateDirectory(path, 'lock');
    else assert.throws(() => privateDirectory(path, 'lock'), { code: 'usage', message: /chmod go-w/ });
    assert.equal(existsSync(path), safe, 'nothing was created');
    const below = join(open, 'closed');
    mkdirSync(below, { mode: 0o700 });
    if (!safe)
      assert.throws(() => safeDirectory(join(below, 'x')), { code: 'usage' }, 'also in subdirectories');
  }
});

test("a path with another user's directory or link anywhere in it is refused", (t) => {
  if (!needs(t, 'root')) return;
  const sticky = folder(t, 0o1777);
  mkdirSync(join(sticky, 'theirs'), { mode: 0o777 });
  chownSync(join(sticky, 'theirs'), STRANGER, STRANGER);
  symlinkSync('/', join(sticky, 'link'));
  lchownSync(join(sticky, 'link'), STRANGER, STRANGER);
  for (const path of ['theirs', 'theirs/below', 'link', 'link/below'])
    assert.throws(() => privateDirectory(join(sticky, path), 'lock'), {
      code: 'usage',
      message: /it belongs to user 65534: choose another path/,
    });
  assert.deepEqual(readdirSync(join(sticky, 'theirs')), []);
});

test('a directory that another user creates at the last moment is refused', (t) => {
  if (!needs(t, 'root')) return;
  const path = join(folder(t, 0o1777), 'state');
  const real = fs.mkdirSync;
  t.after(() => {
    fs.mkdirSync = real;
    syncBuiltinESMExports();
  });
  fs.mkdirSync = ((made: string, ...rest: []) => {
    real(made);
    chownSync(made, STRANGER, STRANGER);
    return real(made, ...rest);
  }) as typeof fs.mkdirSync;
  syncBuiltinESMExports();
  assert.throws(() => privateDirectory(path, 'lock'), { code: 'usage', message: /it belongs to user 65534/ });
});

test('an empty directory that others can write to is made private; one with files is refused', (t) => {
  const path = join(folder(t), 'state');
  mkdirSync(path);
  chmodSync(path, 0o1777);
  privateDirectory(path, 'lock');
  assert.equal(modeOf(path), 0o700);
  writeFileSync(join(path, 'lock'), '');
  chmodSync(path, 0o1777);
  assert.throws(() => privateDirectory(path, 'lock'), { code: 'usage', message: /holds other files/ });
  chmodSync(path, 0o755);
  privateDirectory(path, 'lock'); // no one else can have written to it
  assert.equal(modeOf(path), 0o700);
});

test("no link is followed, and another user's file is neither read nor written", (t) => {
  const base = folder(t);
  const precious = join(base, 'precious');
  writeFileSync(precious, 'precious');
  const link = join(base, 'link');
  symlinkSync(precious, link);
  for (const access of ['read', 'write', 'append'] as const)
    assert.throws(() => openOwnFile(link, access), { code: 'ELOOP' });
  symlinkSync(precious, `${link}.new`);
  replaceFile(link, 'mine');
  assert.deepEqual([readFileSync(precious, 'utf8'), readOwnFile(link)], ['precious', 'mine']);
  assert.equal(lstatSync(link).isSymbolicLink(), false);
  runProgram('mkfifo', [join(base, 'fifo')]);
  assert.throws(() => readOwnFile(join(base, 'fifo')), {
    code: 'state',
    message: /not a regular file: choose another file/,
  });
  if (!needs(t, 'root')) return;
  chownSync(precious, STRANGER, STRANGER);
  assert.throws(() => readOwnFile(precious), { code: 'state', message: /belongs to another user/ });
});

test('an existing file is never replaced by a new one, and only its owner can read a secret one', (t) => {
  const file = join(folder(t), 'key');
  assert.equal(readOwnFile(file), undefined);
  assert.equal(createFile(file, 'first'), true);
  assert.equal(createFile(file, 'second'), false);
  assert.equal(readOwnFile(file, { secret: true }), 'first');
  assert.deepEqual(readdirSync(join(file, '..')), ['key']);
  chmodSync(file, 0o640);
  assert.throws(() => readOwnFile(file, { secret: true }), { code: 'state', message: /chmod 600/ });
});

test('a failed write leaves the old file and no others', (t) => {
  if (!needs(t, 'root')) return;
  const disk = mkdtempSync(join(tmpdir(), 'lametun-disk-'));
  runProgram('mount', ['-t', 'tmpfs', '-o', 'size=8k,mode=700', 'none', disk]);
  t.after(() => {
    runProgram('umount', ['-l', disk]);
    rmdirSync(disk);
  });
  const file = join(disk, 'file');
  replaceFile(file, 'old');
  assert.throws(() => replaceFile(file, 'x'.repeat(20_000)), { code: 'ENOSPC' });
  assert.throws(() => createFile(join(disk, 'other'), 'x'.repeat(20_000)), { code: 'ENOSPC' });
  assert.deepEqual([readdirSync(disk), readOwnFile(file)], [['file'], 'old']);
});

test('output is not written to another user’s file or link in a shared directory', (t) => {
  const shared = folder(t, 0o1777);
  const own = folder(t);
  const precious = join(own, 'precious');
  writeFileSync(precious, 'precious');
  const trap = join(shared, 'out');
  symlinkSync(precious, trap);
  assert.throws(() => openOutput(trap), { code: 'ELOOP' });
  assert.equal(readFileSync(precious, 'utf8'), 'precious');
  symlinkSync(precious, join(own, 'link'));
  closeSync(openOutput(join(own, 'link')));
  assert.equal(readFileSync(precious, 'utf8'), '', 'in other directories a link is followed');
  if (!needs(t, 'root')) return;
  rmSync(trap);
  writeFileSync(trap, 'theirs');
  chownSync(trap, STRANGER, STRANGER);
  assert.throws(() => openOutput(trap), { code: /usage|EACCES/ });
  assert.equal(readFileSync(trap, 'utf8'), 'theirs');
});
