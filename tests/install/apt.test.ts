import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeAptRepository } from '../../packaging/release/apt.js';
import { needs } from '../kit/requirements.js';
import { installBlock } from './blocks.js';
import { Debian, debOf, SUITES } from './debian.js';
import { NEWER, OLDER } from './versions.js';

for (const suite of SUITES) {
  test(`an apt repository on ${suite}: install, upgrade, and no other key's packages`, async (t) => {
    if (!needs(t, 'root', 'systemd-nspawn', 'ip', 'gpg', 'dpkg-deb')) return;
    const folder = mkdtempSync(join(tmpdir(), 'apt-'));
    const ours = makeKey(join(folder, 'ours'));
    const repository = join(folder, 'apt');
    const release = (version: string, key: string, date: number): void =>
      makeAptRepository(repository, { debs: [debOf(version)], key, date });

    await using machine = await Debian.boot('office', suite, 1);
    const publish = (): void => {
      machine.run('rm', '-rf', '/srv/apt');
      machine.copy(repository, '/srv');
    };
    machine.run('rm', '-f', '/etc/apt/sources.list'); // there is no network
    release(OLDER, ours, 1_796_000_000);
    publish();
    machine.runBlock(installBlock('apt').replace('https://REPOSITORY', 'file:/srv/apt'), '/srv/apt');
    assert.equal(installed(machine), OLDER);

    release(NEWER, ours, 1_796_000_001);
    publish();
    machine.run('apt-get', 'update');
    machine.run('apt-get', 'upgrade', '-y');
    assert.equal(installed(machine), NEWER);

    // The same packages, signed by another key.
    const other = makeKey(join(folder, 'other'));
    release(NEWER, other, 1_796_000_002);
    publish();
    machine.run('sh', '-c', 'rm -rf /var/lib/apt/lists/*');
    const refused = machine.try('apt-get', 'update');
    assert.equal(refused.status, 100);
    assert.match(refused.stderr, /is not signed/);
    machine.run('apt-get', 'purge', '-y', 'lametun');
    assert.equal(machine.try('apt-get', 'install', '-y', 'lametun').status, 100);
    rmSync(folder, { recursive: true });
  });
}

/** @returns the version that dpkg has */
const installed = (machine: Debian): string | undefined =>
  machine.run('dpkg-query', '--show', 'lametun').trim().split('\t')[1];

/** Makes a key in a home of its own, which gpg uses from now on. @returns its address */
function makeKey(home: string): string {
  mkdirSync(home);
  chmodSync(home, 0o700);
  process.env['GNUPGHOME'] = home;
  const address = 'releases@example.org';
  const generate = ['--quick-generate-key', address, 'default', 'sign'];
  execFileSync('gpg', ['--batch', '--passphrase', '', ...generate], { stdio: 'pipe' });
  return address;
}
