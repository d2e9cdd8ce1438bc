import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { install, unitFor } from '../../src/cli/network/unit.js';
import { runProgram } from '../../src/linux/process/program.js';
import { MAIN } from '../kit/lametun.js';
import { needs } from '../kit/requirements.js';

test('systemd accepts the unit', (t) => {
  if (!needs(t, 'systemd-analyze')) return;
  const folder = mkdtempSync(join(tmpdir(), 'lametun-unit-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const place = { state: '/var/lib/la me%tun' };
  const unit = unitFor(place, [process.execPath, MAIN, 'up', '--state', place.state]);
  const verify = (text: string): string => {
    const { path } = install({ name: unit.name, text }, folder);
    try {
      return runProgram('systemd-analyze', ['verify', '--man=no', path]);
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.equal(verify(unit.text), '');
  assert.notEqual(
    verify(unit.text.replace('ExecStart=/', 'ExecStart=/no/such/')),
    '',
    'control: it reports a missing program',
  );
});
