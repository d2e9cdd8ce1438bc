import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { installBlock } from './blocks.js';
import { Debian, debOf, SUITES } from './debian.js';
import { install, reach, SILENCE, silence, upgrade } from './upgrade.js';
import { NEWER, OLDER } from './versions.js';

const OFFICE = 'office'; // the hub's name in the network
const STATE = '/var/lib/lametun';

for (const suite of SUITES) {
  test(`the Debian package on ${suite}: install, serve and join, reboot, upgrade, downgrade, remove, purge`, async (t) => {
    if (!needs(t, 'root', 'tun', 'systemd-nspawn', 'ip')) return;
    await using hub = await Debian.boot('office', suite, 1);
    await using node = await Debian.boot('home', suite, 2);
    const machines = [hub, node];
    const before = hub.files();

    for (const machine of machines) {
      machine.run('mkdir', '/root/download');
      machine.copy(debOf(OLDER), '/root/download');
      machine.runBlock(installBlock('deb'), '/root/download');
      for (const version of [OLDER, NEWER]) machine.copy(debOf(version));
      assert.equal(units(machine), '', 'nothing runs on a machine without a network');
    }
    const token = /^lametun join (lt1\w+)$/m.exec(
      hub.run('lametun', 'serve', '--name', 'office', '--install'),
    )?.[1];
    await until(
      'the hub to run under systemd',
      () => isActive(hub) && hub.try('lametun', 'nodes').status === 0,
    );
    node.run('lametun', 'join', token!, '--name', 'home', '--install');
    await reach(node, OFFICE);

    for (const machine of machines) await machine.reboot();
    await reach(node, OFFICE);

    for (const machine of machines) {
      const gaps = await upgrade(machine, 'lametun', node, OFFICE);
      t.diagnostic(`${suite}, upgrade of ${machine.name}: longest silence ${gaps.join(', ')} s`);
      assert.ok(Math.min(...gaps) <= SILENCE);
    }
    t.diagnostic(
      `${suite}, downgrade: longest silence ${await silence(node, OFFICE, () => install(hub, OLDER))} s`,
    );
    assert.equal(isActive(hub), true);

    hub.run('apt-get', 'remove', '-y', 'lametun');
    assert.equal(units(hub), '');
    assert.equal(hub.try('ip', 'link', 'show', 'lametun0').status, 1);
    assert.equal(hub.try('nft', 'list', 'tables').stdout, '');
    install(hub, NEWER);
    hub.run('systemctl', 'start', 'lametun');
    await reach(node, OFFICE); // the machine is the same as before

    hub.run('apt-get', 'purge', '-y', 'lametun');
    const left = added(before, hub.files());
    assert.ok(left.includes(`${STATE}/node.key`));
    assert.deepEqual(
      left.filter((file) => !`${file}/`.startsWith(`${STATE}/`)),
      [],
    );

    install(hub, NEWER);
    hub.runBlock(installBlock('purge'));
    assert.deepEqual(added(before, hub.files()), []);
    assert.equal(hub.try('systemctl', 'list-unit-files', '--no-legend', 'lametun*').stdout, '');

    // What runs in the background, without systemd.
    node.run('systemctl', 'disable', '--now', 'lametun');
    node.run('lametun', 'up', '--detach');
    assert.equal(node.try('ip', 'link', 'show', 'lametun0').status, 0);
    node.run('apt-get', 'remove', '-y', 'lametun');
    assert.equal(node.try('ip', 'link', 'show', 'lametun0').status, 1);
  });
}

const units = (machine: Debian): string =>
  machine.run('systemctl', 'list-units', '--plain', '--no-legend', 'lametun*.service', 'lametund*.service');

const isActive = (machine: Debian): boolean =>
  machine.try('systemctl', 'is-active', 'lametun').stdout === 'active\n';

const added = (before: readonly string[], after: readonly string[]): readonly string[] =>
  after.filter((file) => !before.includes(file));
