import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LametunError } from '../../errors.js';
import { enablePackaged, install, installedUnit, packagedUnit, removeUnit } from './install.js';
import { networkUnit } from './unit-text.js';

/** Folders for units, on a machine where systemd does not run. */
function places(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-unit-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [own, packaged] = [join(folder, 'own'), join(folder, 'packaged')];
  mkdirSync(packaged);
  return { own, packaged: [packaged], isBooted: false };
}
const of = (state: string, ...more: string[]) =>
  networkUnit({ state, command: ['/usr/bin/node', 'main.js', 'up', '--state', state, ...more] });

test('a unit is complete and readable, or an error says why not', (t) => {
  const there = places(t);
  const unit = of('/var/lib/lametun');
  const { path } = install(unit, there);
  assert.equal(readFileSync(path!, 'utf8'), unit.text);
  assert.equal(statSync(path!).mode & 0o777, 0o644);
  assert.throws(
    () => install(unit, { ...there, own: path! }),
    (error) => error instanceof LametunError && /cannot write/.test(error.message),
  );
});

test('a unit belongs to its state directory, and another directory cannot replace it', (t) => {
  const there = places(t);
  assert.equal(installedUnit('/srv/a b', there), undefined);
  install(of('/srv/a b'), there);
  install(of('/srv/a b', '--verbose'), there);
  const found = installedUnit('/srv/a b', there);
  assert.equal(found?.name, 'lametun-srv-a-b.service');
  assert.equal(installedUnit('/srv/a-b', there), undefined);
  assert.throws(() => install(of('/srv/a-b'), there), /it belongs to another state directory/);
  removeUnit(found!, there);
  assert.equal(installedUnit('/srv/a b', there), undefined);
});

test("a package's unit is used once it is enabled, and takes the place of an own one", (t) => {
  const there = places(t);
  const state = '/var/lib/lametun-work';
  assert.equal(packagedUnit(state, there), undefined);
  writeFileSync(join(there.packaged[0]!, 'lametun@.service'), '');
  const packaged = packagedUnit(state, there);
  assert.deepEqual(packaged, { name: 'lametun@work.service' });
  assert.equal(installedUnit(state, there), undefined, 'it is not enabled');
  const { path } = install(of(state), there);
  enablePackaged(state, packaged!, there);
  assert.equal(existsSync(path!), false);
  const wants = join(there.own, 'multi-user.target.wants');
  mkdirSync(wants);
  symlinkSync('/nowhere', join(wants, 'lametun@work.service')); // as `systemctl enable`
  assert.deepEqual(installedUnit(state, there), packaged);
  removeUnit(packaged!, there);
  assert.equal(installedUnit(state, there), undefined);
});
