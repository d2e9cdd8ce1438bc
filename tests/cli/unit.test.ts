import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { networkUnit, packagedUnits, type Unit } from '../../src/cli/units/unit-text.js';
import { needs } from '../kit/requirements.js';

/** The highest exposure that `systemd-analyze security` may find, of 10. */
const MOST_EXPOSED = 2.0;

/** A program that exists, which `verify` checks, and is not in /home or /tmp, which would open the sandbox. */
const PROGRAM = '/usr/bin/env';
const state = '/var/lib/la me%tun';
const UNITS: readonly Unit[] = [
  ...packagedUnits({ lametun: PROGRAM, lametund: PROGRAM }),
  networkUnit({ state, command: [PROGRAM, '/usr/lib/lametun/main.js', 'up', '--state', state] }),
  networkUnit({ state: '/srv/net', command: [PROGRAM, 'up'], files: ['/srv/key/hub.key'] }),
];

function analyze(t: TestContext, { name, text }: Unit, command: string, ...options: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'lametun-unit-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, name);
  writeFileSync(path, text);
  const named = path.replace('@.', '@wg0.'); // an instance of the template
  if (named !== path) writeFileSync(named, text);
  const { stdout, stderr } = spawnSync('systemd-analyze', [command, ...options, named], { encoding: 'utf8' });
  return `${stdout}${stderr}`;
}

test('systemd accepts the units', (t) => {
  if (!needs(t, 'systemd-analyze')) return;
  const verify = (unit: Unit): string => analyze(t, unit, 'verify', '--man=no');
  for (const unit of UNITS) assert.equal(verify(unit), '', unit.name);
  const [first] = UNITS;
  const wrong = { ...first!, text: first!.text.replace('ExecStart=/', 'ExecStart=/no/such/') };
  assert.notEqual(verify(wrong), '', 'control: it reports a missing program');
});

test(`systemd finds an exposure of at most ${MOST_EXPOSED}`, (t) => {
  if (!needs(t, 'systemd-analyze')) return;
  const exposure = (unit: Unit): number =>
    Number(/exposure level for .*: ([\d.]+) /.exec(analyze(t, unit, 'security', '--offline=true'))?.[1]);
  for (const unit of UNITS) {
    const found = exposure(unit);
    t.diagnostic(`${unit.name}: ${found}`);
    assert.ok(found <= MOST_EXPOSED, `${unit.name}: ${found}`);
  }
  const open = { name: 'open.service', text: `[Service]\nExecStart=${PROGRAM}\n` };
  assert.ok(exposure(open) > 9, 'control: a service without a sandbox');
});
