import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../kit/requirements.js';
import { until } from '../kit/wait.js';
import { installBlock } from './blocks.js';
import { Debian, debOf, SUITES } from './debian.js';
import { NEWER, OLDER } from './versions.js';

/** How long an upgrade may silence a network, seconds. */
const SILENCE = 2;
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
    await reach(node);

    for (const machine of machines) await machine.reboot();
    await reach(node);

    for (const machine of machines) {
      const gaps = await upgrade(machine, node);
      t.diagnostic(`${suite}, upgrade of ${machine.name}: longest silence ${gaps.join(', ')} s`);
      assert.ok(Math.min(...gaps) <= SILENCE);
    }
    t.diagnostic(`${suite}, downgrade: longest silence ${await silence(node, () => install(hub, OLDER))} s`);
    assert.equal(isActive(hub), true);

    hub.run('apt-get', 'remove', '-y', 'lametun');
    assert.equal(units(hub), '');
    assert.equal(hub.try('ip', 'link', 'show', 'lametun0').status, 1);
    assert.equal(hub.try('nft', 'list', 'tables').stdout, '');
    install(hub, NEWER);
    hub.run('systemctl', 'start', 'lametun');
    await reach(node); // the machine is the same as before

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

/**
 * Upgrades a machine, again if other work has slowed down the first times.
 *
 * @returns how long the network was silent each time, seconds
 */
async function upgrade(machine: Debian, node: Debian): Promise<readonly number[]> {
  const started = (): string =>
    machine.run('systemctl', 'show', '-P', 'ExecMainStartTimestampMonotonic', 'lametun');
  const gaps: number[] = [];
  while (gaps.length < 3 && !gaps.some((gap) => gap <= SILENCE)) {
    install(machine, OLDER);
    await reach(node);
    const before = started();
    gaps.push(await silence(node, () => install(machine, NEWER)));
    assert.notEqual(started(), before, 'the new version runs');
  }
  return gaps;
}

function install(machine: Debian, version: string): void {
  machine.run('apt-get', 'install', '-y', '--allow-downgrades', `/root/lametun_${version}_amd64.deb`);
}

const units = (machine: Debian): string =>
  machine.run('systemctl', 'list-units', '--plain', '--no-legend', 'lametun*.service', 'lametund*.service');

const isActive = (machine: Debian): boolean =>
  machine.try('systemctl', 'is-active', 'lametun').stdout === 'active\n';

/** Until the hub is reached by its name. */
async function reach(node: Debian): Promise<void> {
  const ping = () => node.try('ping', '-c', '1', '-W', '1', 'office');
  await until('the hub to answer by name', () => ping().status === 0).catch((error: Error) => {
    const journal = node.run('journalctl', '-n', '20', '-u', 'lametun');
    throw new Error(`${error.message}: ${ping().stderr}\n${journal}`);
  });
}

/** @returns the longest time without an answer of the hub while something happens, seconds */
async function silence(node: Debian, happens: () => void): Promise<number> {
  const output = await node.during(['ping', '-D', '-n', '-i', '0.05', 'office'], async () => {
    happens();
    await reach(node);
  });
  const times = [...output.matchAll(/^\[([\d.]+)\] \d+ bytes/gm)].map((match) => Number(match[1]));
  assert.ok(times.length > 10, 'the hub answered');
  return Number(Math.max(...times.slice(1).map((time, i) => time - times[i]!)).toFixed(2));
}

const added = (before: readonly string[], after: readonly string[]): readonly string[] =>
  after.filter((file) => !before.includes(file));
