import assert from 'node:assert/strict';
import { test } from 'node:test';
import { singleFile } from '../../packaging/single-file/make.js';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { installBlock } from './blocks.js';
import { Debian, SUITES } from './debian.js';
import { reach } from './upgrade.js';

const STATE = '/var/lib/lametun';

for (const suite of SUITES) {
  test(`the single file on ${suite}: install, serve and join, wg, reboot, remove`, async (t) => {
    if (!needs(t, 'root', 'tun', 'systemd-nspawn', 'ip')) return;
    await using hub = await Debian.boot('office', suite, 1);
    await using node = await Debian.boot('home', suite, 2);
    const before = hub.files();
    for (const machine of [hub, node]) {
      machine.copy(singleFile('x64'));
      machine.runBlock(installBlock('file'));
      assert.match(machine.run('lametun', '--version'), /^lametun \d/);
    }

    node.run('lametund', 'wg0');
    assert.match(node.run('wg', 'show', 'wg0'), /^interface: wg0$/m);
    node.run('ip', 'link', 'delete', 'wg0');

    const printed = hub.run('lametun', 'serve', '--name', 'office', '--install');
    const token = /^lametun join (lt1\w+)$/m.exec(printed)?.[1];
    await until('the hub to run', () => hub.try('lametun', 'nodes').status === 0);
    node.run('lametun', 'join', token!, '--name', 'home', '--install');
    await reach(node, 'office');
    for (const machine of [hub, node]) await machine.reboot();
    await reach(node, 'office');

    hub.runBlock(installBlock('file-remove'));
    assert.equal(hub.try('ip', 'link', 'show', 'lametun0').status, 1);
    const left = hub.files().filter((file) => !before.includes(file));
    assert.ok(left.includes(`${STATE}/node.key`));
    assert.deepEqual(
      left.filter((file) => !`${file}/`.startsWith(`${STATE}/`)),
      [],
    );
  });
}
