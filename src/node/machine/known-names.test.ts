import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { StateDirectory } from '../shell/state.js';
import { KnownNames } from './known-names.js';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 4, 17);
const warnings = (known: KnownNames, now: number, names = ['office', 'laptop']): string[] => [
  ...known.warnings(names, now),
];

test('a known name with the same key changes nothing', () => {
  const known = new KnownNames();
  known.meet('office', 'k1', NOW);
  assert.deepEqual(known.takeChanged(), [{ name: 'office', key: 'k1' }]);
  known.meet('office', 'k1', NOW + DAY);
  assert.deepEqual(
    [known.takeChanged(), warnings(known, NOW), known.changedAt('office')],
    [undefined, [], undefined],
  );
});

test('a name with another key causes a warning for a week, even after a restart', () => {
  let known = new KnownNames();
  known.meet('office', 'k1', NOW - 100 * DAY);
  known = new KnownNames(known.takeChanged());
  known.meet('office', 'k2', NOW);
  assert.deepEqual(warnings(known, NOW), [
    'office has had a new key since 2026-05-17: the machine joined again, or another one has its name. Check with its owner; `lametun trust office` accepts the key and ends this warning',
  ]);
  known = new KnownNames(JSON.parse(JSON.stringify(known.takeChanged())));
  known.meet('office', 'k2', NOW + DAY);
  assert.equal(warnings(known, NOW + 7 * DAY).length, 1);
  assert.deepEqual(warnings(known, NOW, ['laptop']), [], 'who is not there is no danger');
  assert.deepEqual(warnings(known, NOW + 7 * DAY + 1), []);
  assert.equal(known.changedAt('office'), NOW, 'programs are told for as long as it is so');
});

test('trusting a key ends the warning until the key changes again', () => {
  let known = new KnownNames([
    { name: 'office', key: 'k2', changedAt: NOW },
    { name: 'laptop', key: 'k3', changedAt: NOW },
  ]);
  assert.equal(known.trust('office'), true);
  assert.equal(known.trust('office'), false, 'there is nothing to say');
  assert.equal(known.trust('nobody'), false);
  assert.equal(warnings(known, NOW, ['office']).length, 0);
  assert.equal(warnings(known, NOW, ['laptop']).length, 1, 'nobody else is meant');
  const stored = known.takeChanged();
  assert.deepEqual(
    stored?.find(({ name }) => name === 'office'),
    { name: 'office', key: 'k2' },
  );
  assert.equal(known.takeChanged(), undefined);
  known.putBack();
  assert.deepEqual(known.takeChanged(), stored, 'what could not be written is written the next time');
  known = new KnownNames(stored);
  known.meet('office', 'k2', NOW);
  assert.equal(warnings(known, NOW, ['office']).length, 0);
  known.meet('office', 'k1', NOW);
  assert.equal(warnings(known, NOW, ['office']).length, 1, 'also the key that it had before');
});

test('a key that changes back causes a warning too', () => {
  const known = new KnownNames([{ name: 'office', key: 'k2', changedAt: NOW - 30 * DAY }]);
  known.meet('office', 'k1', NOW);
  assert.equal(warnings(known, NOW).length, 1);
});

test('the number of known names is limited: the name not seen for longest is forgotten first', () => {
  const known = new KnownNames();
  known.meet('office', 'k1', NOW);
  known.meet('old', 'k2', NOW);
  for (let i = 0; i < 131_070; i++) known.meet(`n${i}`, 'k', NOW);
  known.meet('office', 'k1', NOW);
  known.meet('one-more', 'k', NOW);
  known.meet('old', 'k3', NOW);
  known.meet('office', 'k4', NOW);
  assert.deepEqual([known.changedAt('old'), known.changedAt('office')], [undefined, NOW]);
  assert.equal(known.takeChanged()!.length, 131_072);
});

test('a name such as "constructor" survives a restart like any other', (t) => {
  const special = fc.constantFrom(
    'constructor',
    'prototype',
    '__proto__',
    'tostring',
    'valueof',
    'hasOwnProperty',
    '1',
    '0',
  );
  const folder = mkdtempSync(join(tmpdir(), 'lametun-names-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const state = StateDirectory.open(join(folder, 'state'));
  t.after(() => state.close());
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.oneof(special, fc.string({ maxLength: 63 })), { minLength: 1 }),
      (names) => {
        const first = new KnownNames();
        for (const name of names) first.meet(name, 'k1', NOW);
        state.write('names', first.takeChanged()!);
        const next = new KnownNames(state.read('names'));
        for (const name of names) next.meet(name, 'k2', NOW);
        assert.deepEqual(
          names.filter((name) => next.changedAt(name) !== NOW),
          [],
        );
      },
    ),
    { numRuns: 30 }, // each waits for the disk
  );
});

test('a warning lasts a week even if the clock is set meanwhile', () => {
  const known = new KnownNames([{ name: 'laptop', key: 'k2', changedAt: NOW }]);
  known.meet('office', 'k1', 600_000);
  known.meet('office', 'k2', 600_000); // ten minutes after 1970
  known.move({ from: 0, to: 700_000, by: NOW });
  assert.deepEqual([known.changedAt('office'), known.changedAt('laptop')], [NOW + 600_000, NOW]);
  assert.equal(warnings(known, NOW + DAY).length, 2);
  assert.ok(known.takeChanged() !== undefined, 'it is stored');
});
