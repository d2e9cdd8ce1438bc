import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { controlFile } from './control.js';

test('the control file names version, processor, maintainer and size', () => {
  const release = { version: '1.0.0-rc.1', maintainer: 'A Person <a@example.org>', date: 0 };
  const text = controlFile(release, 'x64', 1234);
  const fields = new Map(text.split(/\n(?! )/).map((line) => line.split(/: (.*)/s) as [string, string]));
  assert.equal(fields.get('Package'), 'lametun');
  assert.equal(fields.get('Version'), '1.0.0~rc.1');
  assert.equal(fields.get('Architecture'), 'amd64');
  assert.equal(fields.get('Maintainer'), 'A Person <a@example.org>');
  assert.equal(fields.get('Installed-Size'), '1234');
  assert.match(controlFile(release, 'arm64', 1), /^Architecture: arm64$/m);
});

test('the maintainer scripts are valid for sh', () => {
  const scripts = readdirSync('packaging/deb/files').filter((name) => /^(pre|post)/.test(name));
  assert.deepEqual(scripts.sort(), ['postinst', 'postrm', 'prerm']);
  for (const name of scripts) {
    const { status, stderr } = spawnSync('sh', ['-n', `packaging/deb/files/${name}`], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  }
});
